program HelloWorld;

uses
  Kernel, Arch, Console;

begin
  WriteConsoleF('Hello World, I am TORO!\n', []);
  WriteConsoleF('%d cores, %d MiB of memory\n', [CPU_COUNT, AvailableMemory div (1024 * 1024)]);
end.
