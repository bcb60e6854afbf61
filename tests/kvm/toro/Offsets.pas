{ Where the kernel believes each field of the boot-info block to be. }
program Offsets;

{$mode objfpc}

uses
  BootInfo;

var
  Info: TBootInfo;

procedure Show(const Name: ShortString; const Field; Size: LongInt);
begin
  WriteLn(Name, ' ', PtrUInt(@Field) - PtrUInt(@Info), ' ', Size);
end;

begin
  with Info do
  begin
    Show('magic', Magic, SizeOf(Magic));
    Show('version', Version, SizeOf(Version));
    Show('size', Size, SizeOf(Size));
    Show('cpu_count', CpuCount, SizeOf(CpuCount));
    Show('tsc_hz', TscHz, SizeOf(TscHz));
    Show('wall_clock_ns', WallClockNs, SizeOf(WallClockNs));
    Show('wall_clock_tsc', WallClockTsc, SizeOf(WallClockTsc));
    Show('command_line', CommandLine, SizeOf(CommandLine));
    Show('command_line_size', CommandLineSize, SizeOf(CommandLineSize));
    Show('memory_map_count', MemoryMapCount, SizeOf(MemoryMapCount));
    Show('memory_map', MemoryMap, SizeOf(MemoryMap));
    Show('devices', Devices, SizeOf(Devices));
    Show('device_count', DeviceCount, SizeOf(DeviceCount));
    Show('console_vector', ConsoleVector, SizeOf(ConsoleVector));
    Show('cpu_areas', CpuAreas, SizeOf(CpuAreas));
    Show('cpu_area_size', CpuAreaSize, SizeOf(CpuAreaSize));
    Show('supervisor_size', SupervisorSize, SizeOf(SupervisorSize));
    Show('stack_size', StackSize, SizeOf(StackSize));
    Show('flags', Flags, SizeOf(Flags));
    Show('shutdown_vector', ShutdownVector, SizeOf(ShutdownVector));
    Show('generation_vector', GenerationVector, SizeOf(GenerationVector));
    Show('generation', Generation, SizeOf(Generation));
    Show('marks', Marks, SizeOf(Marks));
    Show('random', Random, SizeOf(Random));
  end;
end.
