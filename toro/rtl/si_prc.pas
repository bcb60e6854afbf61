{ What FPC's library wants to know of the program: the addresses of its tables. Replaces FPC's
  start-up code for Linux, which the compiler adds to every program by this name. }
unit si_prc;

{$mode objfpc}

interface

var
  InitFinal: record end; external name 'INITFINAL';
  ThreadVarTables: record end; external name 'FPC_THREADVARTABLES';
  ResourceStrings: record end; external name 'FPC_RESOURCESTRINGTABLES';
  ResourceStringInits: record end; external name 'FPC_RESSTRINITTABLES';
  Resources: Pointer; external name 'FPC_RESLOCATION';

procedure PascalMain; external name 'PASCALMAIN';
procedure HaltProgram(Status: LongInt); cdecl; external name '_haltproc'; { Kernel }

const
  { The kernel adds the stack's place. }
  ProgramInformation: TEntryInformation = (
    InitFinalTable: @InitFinal;
    ThreadvarTablesTable: @ThreadVarTables;
    ResourceStringTables: @ResourceStrings;
    ResStrInitTables: @ResourceStringInits;
    ResLocation: @Resources;
    PascalMain: @PascalMain;
    valgrind_used: False;
    OS: (argc: 0; argv: nil; envp: nil; stkptr: nil; stklen: 0; haltproc: @HaltProgram);
  );

implementation

end.
