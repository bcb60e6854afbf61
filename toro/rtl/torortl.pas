{ `pyvmm build` adds this unit to every program, so that the kernel is linked in even if the
  program does not name it. }
unit torortl;

{$mode objfpc}

interface

uses randomseed, Kernel, XHeaps;

implementation

end.
