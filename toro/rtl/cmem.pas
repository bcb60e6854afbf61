{ FPC's unit for the C library's heap. Here it is the kernel's. }
unit cmem;

interface

implementation

end.
