{ `pyvmm build` puts this unit in front of every program's own, so that the kernel
  is there whether the program names it or not. }
unit torortl;

{$mode objfpc}

interface

uses utf8strings, Kernel, XHeaps;

implementation

end.
