{ FPC's unit for strings by the C library, which programs for Unix name. Here it is FPC's own
  implementation: all code pages, and Unicode's rules for case and order. }
unit cwstring;

interface

uses fpwidestring, unicodeducet, cpall;

implementation

end.
