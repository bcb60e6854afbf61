{ FPC's unit for threads by the C library, which programs for Unix name. Here threads are always
  there: the kernel's. }
unit cthreads;

interface

implementation

end.
