{ MPI, for programs in Pascal. A rank is a core. All ranks must call a collective operation, in the
  same order and with the same root.

  Routines are those of the MPI standard, as mpi.h declares them for C, whose pointers to one value
  are `var` parameters here. The shorter routines of some of these names are Toro's own, for vectors
  of LongInt. Variables of the program are shared by all ranks. Nothing has to be called first:
  MPI starts with the first of MPI_Comm_rank, MPI_Comm_size and Toro's routines. }
unit ToroMPI;

{$mode objfpc}

interface

uses Ranks;

const
  { Types }
  MPI_CHAR = 0;
  MPI_SIGNED_CHAR = 1;
  MPI_UNSIGNED_CHAR = 2;
  MPI_BYTE = 3;
  MPI_WCHAR = 4;
  MPI_SHORT = 5;
  MPI_UNSIGNED_SHORT = 6;
  MPI_INT = 7;
  MPI_UNSIGNED = 8;
  MPI_LONG = 9;
  MPI_UNSIGNED_LONG = 10;
  MPI_LONG_LONG_INT = 11;
  MPI_UNSIGNED_LONG_LONG = 12;
  MPI_FLOAT = 13;
  MPI_DOUBLE = 14;
  MPI_LONG_DOUBLE = 15;
  MPI_INT8_T = 16;
  MPI_INT16_T = 17;
  MPI_INT32_T = 18;
  MPI_INT64_T = 19;
  MPI_UINT8_T = 20;
  MPI_UINT16_T = 21;
  MPI_UINT32_T = 22;
  MPI_UINT64_T = 23;
  MPI_AINT = 24;
  MPI_OFFSET = 25;
  MPI_COUNT = 26;
  MPI_C_BOOL = 27;
  MPI_C_FLOAT_COMPLEX = 28;
  MPI_C_DOUBLE_COMPLEX = 29;
  MPI_C_LONG_DOUBLE_COMPLEX = 30;
  MPI_FLOAT_INT = 31;
  MPI_DOUBLE_INT = 32;
  MPI_LONG_INT = 33;
  MPI_2INT = 34;
  MPI_SHORT_INT = 35;
  MPI_LONG_DOUBLE_INT = 36;
  MPI_PACKED = 37;
  MPI_LB = 38;
  MPI_UB = 39;

  { Operations }
  MPI_SUM = 0;
  MPI_MIN = 1;
  MPI_MAX = 2;
  MPI_PROD = 3;
  MPI_LAND = 4;
  MPI_LOR = 5;
  MPI_LXOR = 6;
  MPI_BAND = 7;
  MPI_BOR = 8;
  MPI_BXOR = 9;
  MPI_MAXLOC = 10;
  MPI_MINLOC = 11;
  MPI_REPLACE = 12;
  MPI_NO_OP = 13;

  { Results }
  MPI_SUCCESS = 0;
  MPI_ERR_BUFFER = 1;
  MPI_ERR_COUNT = 2;
  MPI_ERR_TYPE = 3;
  MPI_ERR_TAG = 4;
  MPI_ERR_COMM = 5;
  MPI_ERR_RANK = 6;
  MPI_ERR_ROOT = 7;
  MPI_ERR_GROUP = 8;
  MPI_ERR_OP = 9;
  MPI_ERR_TOPOLOGY = 10;
  MPI_ERR_DIMS = 11;
  MPI_ERR_ARG = 12;
  MPI_ERR_UNKNOWN = 13;
  MPI_ERR_OTHER = 14;
  MPI_ERR_TRUNCATE = 15;
  MPI_ERR_INTERN = 16;
  MPI_ERR_IN_STATUS = 17;
  MPI_ERR_PENDING = 18;
  MPI_ERR_REQUEST = 19;
  MPI_ERR_KEYVAL = 20;
  MPI_ERR_NO_MEM = 21;
  MPI_ERR_INFO_KEY = 22;
  MPI_ERR_INFO_VALUE = 23;
  MPI_ERR_INFO_NOKEY = 24;
  MPI_ERR_INFO = 25;
  MPI_ERR_WIN = 26;
  MPI_ERR_BASE = 27;
  MPI_ERR_SIZE = 28;
  MPI_ERR_DISP = 29;
  MPI_ERR_LOCKTYPE = 30;
  MPI_ERR_ASSERT = 31;
  MPI_ERR_RMA_CONFLICT = 32;
  MPI_ERR_RMA_SYNC = 33;
  MPI_ERR_RMA_RANGE = 34;
  MPI_ERR_RMA_ATTACH = 35;
  MPI_ERR_RMA_SHARED = 36;
  MPI_ERR_RMA_FLAVOR = 37;
  MPI_ERR_UNSUPPORTED_OPERATION = 38;
  MPI_ERR_ACCESS = 39;
  MPI_ERR_FILE = 40;
  MPI_ERR_IO = 41;
  MPI_ERR_NAME = 42;
  MPI_ERR_SERVICE = 43;
  MPI_ERR_SPAWN = 44;
  MPI_ERR_PORT = 45;

  { Handles }
  MPI_COMM_WORLD = 0;
  MPI_COMM_SELF = 1;
  MPI_COMM_NULL = -1;
  MPI_GROUP_EMPTY = 0;
  MPI_GROUP_NULL = -1;
  MPI_INFO_NULL = -1;
  MPI_WIN_NULL = -1;
  MPI_ERRORS_ARE_FATAL = 0;
  MPI_ERRORS_RETURN = 1;

  { Ranks, tags and other values }
  MPI_ANY_SOURCE = -1;
  MPI_ANY_TAG = -1;
  MPI_PROC_NULL = -2;
  MPI_ROOT = -3;
  MPI_UNDEFINED = -32766;
  MPI_IDENT = 0;
  MPI_CONGRUENT = 1;
  MPI_SIMILAR = 2;
  MPI_UNEQUAL = 3;
  MPI_GRAPH = 1;
  MPI_CART = 2;
  MPI_DIST_GRAPH = 3;
  MPI_ORDER_C = 1;
  MPI_ORDER_FORTRAN = 2;
  MPI_LOCK_EXCLUSIVE = 1;
  MPI_LOCK_SHARED = 2;
  MPI_MAX_PROCESSOR_NAME = 128;
  MPI_MAX_ERROR_STRING = 256;
  MPI_MAX_OBJECT_NAME = 128;

type
  TMpiComm = LongInt;
  TMpiDatatype = LongInt;
  TMpiOp = LongInt;
  TMpiGroup = LongInt;
  TMpiErrhandler = LongInt;
  TMpiWin = LongInt;
  TMpiInfo = LongInt;
  TMpiRequest = Pointer;
  TMpiMessage = Pointer;
  PTMpiDatatype = ^TMpiDatatype;
  PTMpiRequest = ^TMpiRequest;

  { The status of a received message; MPI_Get_count tells its length. }
  PMpiStatus = ^TMpiStatus;
  TMpiStatus = record
    Source, Tag, Error, Cancelled: LongInt;
    Bytes: Int64;
  end;

var
  { As a send buffer: the data are in the receive buffer. }
  MPI_IN_PLACE: Pointer = Pointer(-1);
  { Of distributed graphs: there are no weights, or none here. }
  MPI_UNWEIGHTED: PLongInt = PLongInt(-2);
  MPI_WEIGHTS_EMPTY: PLongInt = PLongInt(-3);
  MPI_STATUS_IGNORE: PMpiStatus = nil;
  MPI_REQUEST_NULL: TMpiRequest = nil;

{ ---- Toro's ---- }

{ The number of ranks, and the caller's rank. }
function MPI_Comm_size(Value: LongInt; out Param: LongInt): LongInt; cdecl; external name 'MPI_Comm_size';
function MPI_Comm_rank(Value: LongInt; out Param: LongInt): LongInt; cdecl; external name 'MPI_Comm_rank';

{ Waits for all ranks. }
procedure MPI_Barrier(Value: LongInt); cdecl; external name 'Mpi_Barrier';

{ Copies Count LongInts at Data from the root to all ranks. }
procedure Mpi_Bcast(Data: Pointer; Count, Root: LongInt); cdecl; overload; external name 'Mpi_Bcast';

{ Scatter gives each rank an equal part of the root's Send_count LongInts; Gather collects
  Send_count LongInts of each rank at the root, in the order of ranks. Recv_count is set to the
  bytes of one part. }
function Mpi_Scatter(Send_data: Pointer; Send_count: LongInt; Recv_data: Pointer;
  var Recv_count: LongInt; Root: LongInt): LongInt; cdecl; overload; external name 'Mpi_Scatter';
function Mpi_Gather(Send_data: Pointer; Send_count: LongInt; Recv_data: Pointer;
  var Recv_count: LongInt; Root: LongInt): LongInt; cdecl; overload; external name 'Mpi_Gather';

{ Combine vectors of all ranks element by element, for the root or for all ranks. }
function Mpi_Reduce(Send_data, Recv_data: Pointer; Send_count, Operation, Root: LongInt): LongInt; cdecl; overload;
  external name 'Mpi_Reduce';
function Mpi_AllReduce(Send_data, Recv_data: Pointer; Send_count, Operation, Root: LongInt): LongInt; cdecl; overload;
  external name 'Mpi_AllReduce';

{ Send Count bytes to a rank, and receive up to Count bytes from one. }
function Mpi_Send(Data: Pointer; Count, Dest: LongInt): LongInt; cdecl; overload; external name 'Mpi_Send';
function Mpi_Recv(Data: Pointer; Count, Source: LongInt): LongInt; cdecl; overload; external name 'Mpi_Recv';

{ TSC ticks. The standard's MPI_Wtime, in mpi.h, returns seconds. }
function Mpi_Wtime: PtrUInt; cdecl; external name 'Mpi_Wtime';

{ ---- The standard's ---- }

{ Environment }
function MPI_Finalize: LongInt; cdecl; external name 'MPI_Finalize';
function MPI_Initialized(var Flag: LongInt): LongInt; cdecl; external name 'MPI_Initialized';
function MPI_Finalized(var Flag: LongInt): LongInt; cdecl; external name 'MPI_Finalized';
function MPI_Query_thread(var Provided: LongInt): LongInt; cdecl; external name 'MPI_Query_thread';
function MPI_Is_thread_main(var Flag: LongInt): LongInt; cdecl; external name 'MPI_Is_thread_main';
function MPI_Abort(Comm: TMpiComm; Status: LongInt): LongInt; cdecl; external name 'MPI_Abort';
function MPI_Get_processor_name(Name: PChar; var Length: LongInt): LongInt; cdecl; external name
  'MPI_Get_processor_name';
function MPI_Get_version(var Version, Subversion: LongInt): LongInt; cdecl; external name 'MPI_Get_version';
function MPI_Get_library_version(Version: PChar; var Length: LongInt): LongInt; cdecl; external name
  'MPI_Get_library_version';
function MPI_Alloc_mem(Size: Int64; Info: TMpiInfo; Memory: Pointer): LongInt; cdecl; external name 'MPI_Alloc_mem';
function MPI_Free_mem(Memory: Pointer): LongInt; cdecl; external name 'MPI_Free_mem';
function MPI_Wtick: Double; cdecl; external name 'MPI_Wtick';

{ Messages }
function MPI_Send(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm: TMpiComm):
  LongInt; cdecl; overload; external name 'MPI_Send';
function MPI_Ssend(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm: TMpiComm):
  LongInt; cdecl; external name 'MPI_Ssend';
function MPI_Bsend(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm: TMpiComm):
  LongInt; cdecl; external name 'MPI_Bsend';
function MPI_Rsend(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm: TMpiComm):
  LongInt; cdecl; external name 'MPI_Rsend';
function MPI_Isend(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm: TMpiComm;
  var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Isend';
function MPI_Issend(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm: TMpiComm;
  var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Issend';
function MPI_Ibsend(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm: TMpiComm;
  var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Ibsend';
function MPI_Irsend(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm: TMpiComm;
  var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Irsend';
function MPI_Send_init(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm:
  TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Send_init';
function MPI_Ssend_init(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm:
  TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Ssend_init';
function MPI_Bsend_init(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm:
  TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Bsend_init';
function MPI_Rsend_init(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Tag: LongInt; Comm:
  TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Rsend_init';
function MPI_Recv(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Source, Tag: LongInt; Comm: TMpiComm; Status:
  PMpiStatus): LongInt; cdecl; overload; external name 'MPI_Recv';
function MPI_Irecv(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Source, Tag: LongInt; Comm: TMpiComm; var
  Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Irecv';
function MPI_Recv_init(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Source, Tag: LongInt; Comm: TMpiComm;
  var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Recv_init';
function MPI_Sendrecv(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Destination, Send_Tag: LongInt;
  Receive: Pointer; Receive_Count: LongInt; Receive_Type: TMpiDatatype; Source, Receive_Tag: LongInt; Comm: TMpiComm;
  Status: PMpiStatus): LongInt; cdecl; external name 'MPI_Sendrecv';
function MPI_Sendrecv_replace(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Send_Tag, Source,
  Receive_Tag: LongInt; Comm: TMpiComm; Status: PMpiStatus): LongInt; cdecl; external name 'MPI_Sendrecv_replace';
function MPI_Isendrecv(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Destination, Send_Tag: LongInt;
  Receive: Pointer; Receive_Count: LongInt; Receive_Type: TMpiDatatype; Source, Receive_Tag: LongInt; Comm: TMpiComm;
  var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Isendrecv';
function MPI_Isendrecv_replace(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Destination, Send_Tag, Source,
  Receive_Tag: LongInt; Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Isendrecv_replace';
function MPI_Probe(Source, Tag: LongInt; Comm: TMpiComm; Status: PMpiStatus): LongInt; cdecl; external name 'MPI_Probe';
function MPI_Iprobe(Source, Tag: LongInt; Comm: TMpiComm; var Flag: LongInt; Status: PMpiStatus): LongInt; cdecl;
  external name 'MPI_Iprobe';
function MPI_Mprobe(Source, Tag: LongInt; Comm: TMpiComm; var Message: TMpiMessage; Status: PMpiStatus): LongInt;
  cdecl; external name 'MPI_Mprobe';
function MPI_Improbe(Source, Tag: LongInt; Comm: TMpiComm; var Flag: LongInt; var Message: TMpiMessage; Status:
  PMpiStatus): LongInt; cdecl; external name 'MPI_Improbe';
function MPI_Mrecv(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; var Message: TMpiMessage; Status:
  PMpiStatus): LongInt; cdecl; external name 'MPI_Mrecv';
function MPI_Imrecv(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; var Message: TMpiMessage; var Request:
  TMpiRequest): LongInt; cdecl; external name 'MPI_Imrecv';
function MPI_Buffer_attach(Buffer: Pointer; Size: LongInt): LongInt; cdecl; external name 'MPI_Buffer_attach';
function MPI_Buffer_detach(Buffer: Pointer; var Size: LongInt): LongInt; cdecl; external name 'MPI_Buffer_detach';
function MPI_Get_count(Status: PMpiStatus; DataType: TMpiDatatype; var Count: LongInt): LongInt; cdecl; external name
  'MPI_Get_count';
function MPI_Get_elements(Status: PMpiStatus; DataType: TMpiDatatype; var Count: LongInt): LongInt; cdecl; external
  name 'MPI_Get_elements';
function MPI_Get_elements_x(Status: PMpiStatus; DataType: TMpiDatatype; var Count: Int64): LongInt; cdecl; external
  name 'MPI_Get_elements_x';
function MPI_Status_set_elements(Status: PMpiStatus; DataType: TMpiDatatype; Count: LongInt): LongInt; cdecl; external
  name 'MPI_Status_set_elements';
function MPI_Status_set_elements_x(Status: PMpiStatus; DataType: TMpiDatatype; Count: Int64): LongInt; cdecl; external
  name 'MPI_Status_set_elements_x';
function MPI_Status_set_cancelled(Status: PMpiStatus; Flag: LongInt): LongInt; cdecl; external name
  'MPI_Status_set_cancelled';
function MPI_Test_cancelled(Status: PMpiStatus; var Flag: LongInt): LongInt; cdecl; external name 'MPI_Test_cancelled';

{ Requests }
function MPI_Wait(var Request: TMpiRequest; Status: PMpiStatus): LongInt; cdecl; external name 'MPI_Wait';
function MPI_Waitall(Count: LongInt; Requests: PTMpiRequest; Statuses: PMpiStatus): LongInt; cdecl; external name
  'MPI_Waitall';
function MPI_Waitany(Count: LongInt; Requests: PTMpiRequest; var Index: LongInt; Status: PMpiStatus): LongInt; cdecl;
  external name 'MPI_Waitany';
function MPI_Waitsome(Count: LongInt; Requests: PTMpiRequest; var Done: LongInt; Indices: PLongInt; Statuses:
  PMpiStatus): LongInt; cdecl; external name 'MPI_Waitsome';
function MPI_Test(var Request: TMpiRequest; var Flag: LongInt; Status: PMpiStatus): LongInt; cdecl; external name
  'MPI_Test';
function MPI_Testall(Count: LongInt; Requests: PTMpiRequest; var Flag: LongInt; Statuses: PMpiStatus): LongInt; cdecl;
  external name 'MPI_Testall';
function MPI_Testany(Count: LongInt; Requests: PTMpiRequest; var Index, Flag: LongInt; Status: PMpiStatus): LongInt;
  cdecl; external name 'MPI_Testany';
function MPI_Testsome(Count: LongInt; Requests: PTMpiRequest; var Done: LongInt; Indices: PLongInt; Statuses:
  PMpiStatus): LongInt; cdecl; external name 'MPI_Testsome';
function MPI_Start(var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Start';
function MPI_Startall(Count: LongInt; Requests: PTMpiRequest): LongInt; cdecl; external name 'MPI_Startall';
function MPI_Cancel(var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Cancel';
function MPI_Request_free(var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Request_free';
function MPI_Request_get_status(Request: TMpiRequest; var Flag: LongInt; Status: PMpiStatus): LongInt; cdecl; external
  name 'MPI_Request_get_status';
function MPI_Grequest_start(Query, Release, Cancel: CodePointer; State: Pointer; var Request: TMpiRequest): LongInt;
  cdecl; external name 'MPI_Grequest_start';
function MPI_Grequest_complete(Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Grequest_complete';

{ Collective operations }
function MPI_Barrier_init(Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Barrier_init';
function MPI_Ibarrier(Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Ibarrier';
function MPI_Bcast(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Root: LongInt; Comm: TMpiComm): LongInt;
  cdecl; overload; external name 'MPI_Bcast';
function MPI_Bcast_init(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Root: LongInt; Comm: TMpiComm; Info:
  TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Bcast_init';
function MPI_Ibcast(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Root: LongInt; Comm: TMpiComm; var Request:
  TMpiRequest): LongInt; cdecl; external name 'MPI_Ibcast';
function MPI_Gather(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm): LongInt; cdecl; overload; external name
  'MPI_Gather';
function MPI_Gather_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest):
  LongInt; cdecl; external name 'MPI_Gather_init';
function MPI_Igather(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl;
  external name 'MPI_Igather';
function MPI_Gatherv(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Counts,
  Offsets: PLongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm): LongInt; cdecl; external name
  'MPI_Gatherv';
function MPI_Gatherv_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Counts, Offsets: PLongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm; Info: TMpiInfo; var
  Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Gatherv_init';
function MPI_Igatherv(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Counts,
  Offsets: PLongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm; var Request: TMpiRequest): LongInt;
  cdecl; external name 'MPI_Igatherv';
function MPI_Scatter(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm): LongInt; cdecl; overload; external name
  'MPI_Scatter';
function MPI_Scatter_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm; Info: TMpiInfo; var Request:
  TMpiRequest): LongInt; cdecl; external name 'MPI_Scatter_init';
function MPI_Iscatter(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl;
  external name 'MPI_Iscatter';
function MPI_Scatterv(Send: Pointer; Send_Counts, Offsets: PLongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm): LongInt; cdecl; external name
  'MPI_Scatterv';
function MPI_Scatterv_init(Send: Pointer; Send_Counts, Offsets: PLongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm; Info: TMpiInfo; var Request:
  TMpiRequest): LongInt; cdecl; external name 'MPI_Scatterv_init';
function MPI_Iscatterv(Send: Pointer; Send_Counts, Offsets: PLongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Root: LongInt; Comm: TMpiComm; var Request: TMpiRequest):
  LongInt; cdecl; external name 'MPI_Iscatterv';
function MPI_Allgather(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm): LongInt; cdecl; external name 'MPI_Allgather';
function MPI_Allgather_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest):
  LongInt; cdecl; external name 'MPI_Allgather_init';
function MPI_Iallgather(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Iallgather';
function MPI_Allgatherv(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Counts,
  Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm): LongInt; cdecl; external name 'MPI_Allgatherv';
function MPI_Allgatherv_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Counts, Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; Info: TMpiInfo; var Request:
  TMpiRequest): LongInt; cdecl; external name 'MPI_Allgatherv_init';
function MPI_Iallgatherv(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Counts, Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; var Request: TMpiRequest): LongInt;
  cdecl; external name 'MPI_Iallgatherv';
function MPI_Alltoall(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm): LongInt; cdecl; external name 'MPI_Alltoall';
function MPI_Alltoall_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest):
  LongInt; cdecl; external name 'MPI_Alltoall_init';
function MPI_Ialltoall(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer; Receive_Count:
  LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Ialltoall';
function MPI_Alltoallv(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Counts, Receive_Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm): LongInt; cdecl; external
  name 'MPI_Alltoallv';
function MPI_Alltoallv_init(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Type: TMpiDatatype; Receive:
  Pointer; Receive_Counts, Receive_Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; Info: TMpiInfo; var
  Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Alltoallv_init';
function MPI_Ialltoallv(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Counts, Receive_Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; var Request: TMpiRequest):
  LongInt; cdecl; external name 'MPI_Ialltoallv';
function MPI_Alltoallw(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Types: PTMpiDatatype; Receive:
  Pointer; Receive_Counts, Receive_Offsets: PLongInt; Receive_Types: PTMpiDatatype; Comm: TMpiComm): LongInt; cdecl;
  external name 'MPI_Alltoallw';
function MPI_Alltoallw_init(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Types: PTMpiDatatype; Receive:
  Pointer; Receive_Counts, Receive_Offsets: PLongInt; Receive_Types: PTMpiDatatype; Comm: TMpiComm; Info: TMpiInfo;
  var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Alltoallw_init';
function MPI_Ialltoallw(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Types: PTMpiDatatype; Receive:
  Pointer; Receive_Counts, Receive_Offsets: PLongInt; Receive_Types: PTMpiDatatype; Comm: TMpiComm; var Request:
  TMpiRequest): LongInt; cdecl; external name 'MPI_Ialltoallw';
function MPI_Reduce(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Root: LongInt;
  Comm: TMpiComm): LongInt; cdecl; overload; external name 'MPI_Reduce';
function MPI_Reduce_init(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Root:
  LongInt; Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Reduce_init';
function MPI_Ireduce(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Root: LongInt;
  Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Ireduce';
function MPI_Allreduce(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm:
  TMpiComm): LongInt; cdecl; overload; external name 'MPI_Allreduce';
function MPI_Allreduce_init(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm:
  TMpiComm; Info: TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Allreduce_init';
function MPI_Iallreduce(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm:
  TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Iallreduce';
function MPI_Reduce_scatter(Send, Receive: Pointer; Counts: PLongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm:
  TMpiComm): LongInt; cdecl; external name 'MPI_Reduce_scatter';
function MPI_Reduce_scatter_init(Send, Receive: Pointer; Counts: PLongInt; DataType: TMpiDatatype; Operation: TMpiOp;
  Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Reduce_scatter_init';
function MPI_Ireduce_scatter(Send, Receive: Pointer; Counts: PLongInt; DataType: TMpiDatatype; Operation: TMpiOp;
  Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Ireduce_scatter';
function MPI_Reduce_scatter_block(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp;
  Comm: TMpiComm): LongInt; cdecl; external name 'MPI_Reduce_scatter_block';
function MPI_Reduce_scatter_block_init(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation:
  TMpiOp; Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Reduce_scatter_block_init';
function MPI_Ireduce_scatter_block(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp;
  Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Ireduce_scatter_block';
function MPI_Scan(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm: TMpiComm):
  LongInt; cdecl; external name 'MPI_Scan';
function MPI_Scan_init(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm:
  TMpiComm; Info: TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Scan_init';
function MPI_Iscan(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm: TMpiComm;
  var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Iscan';
function MPI_Exscan(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm:
  TMpiComm): LongInt; cdecl; external name 'MPI_Exscan';
function MPI_Exscan_init(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm:
  TMpiComm; Info: TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Exscan_init';
function MPI_Iexscan(Send, Receive: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp; Comm:
  TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Iexscan';
function MPI_Neighbor_allgather(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm): LongInt; cdecl; external name
  'MPI_Neighbor_allgather';
function MPI_Neighbor_allgather_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest):
  LongInt; cdecl; external name 'MPI_Neighbor_allgather_init';
function MPI_Ineighbor_allgather(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl;
  external name 'MPI_Ineighbor_allgather';
function MPI_Neighbor_alltoall(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm): LongInt; cdecl; external name
  'MPI_Neighbor_alltoall';
function MPI_Neighbor_alltoall_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest):
  LongInt; cdecl; external name 'MPI_Neighbor_alltoall_init';
function MPI_Ineighbor_alltoall(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Count: LongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl;
  external name 'MPI_Ineighbor_alltoall';
function MPI_Neighbor_allgatherv(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Counts, Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm): LongInt; cdecl; external name
  'MPI_Neighbor_allgatherv';
function MPI_Neighbor_allgatherv_init(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Counts, Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; Info: TMpiInfo; var Request:
  TMpiRequest): LongInt; cdecl; external name 'MPI_Neighbor_allgatherv_init';
function MPI_Ineighbor_allgatherv(Send: Pointer; Send_Count: LongInt; Send_Type: TMpiDatatype; Receive: Pointer;
  Receive_Counts, Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; var Request: TMpiRequest): LongInt;
  cdecl; external name 'MPI_Ineighbor_allgatherv';
function MPI_Neighbor_alltoallv(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Type: TMpiDatatype; Receive:
  Pointer; Receive_Counts, Receive_Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm): LongInt; cdecl;
  external name 'MPI_Neighbor_alltoallv';
function MPI_Neighbor_alltoallv_init(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Type: TMpiDatatype;
  Receive: Pointer; Receive_Counts, Receive_Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; Info:
  TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Neighbor_alltoallv_init';
function MPI_Ineighbor_alltoallv(Send: Pointer; Send_Counts, Send_Offsets: PLongInt; Send_Type: TMpiDatatype; Receive:
  Pointer; Receive_Counts, Receive_Offsets: PLongInt; Receive_Type: TMpiDatatype; Comm: TMpiComm; var Request:
  TMpiRequest): LongInt; cdecl; external name 'MPI_Ineighbor_alltoallv';
function MPI_Neighbor_alltoallw(Send: Pointer; Send_Counts: PLongInt; Send_Offsets: PInt64; Send_Types: PTMpiDatatype;
  Receive: Pointer; Receive_Counts: PLongInt; Receive_Offsets: PInt64; Receive_Types: PTMpiDatatype; Comm: TMpiComm):
  LongInt; cdecl; external name 'MPI_Neighbor_alltoallw';
function MPI_Neighbor_alltoallw_init(Send: Pointer; Send_Counts: PLongInt; Send_Offsets: PInt64; Send_Types:
  PTMpiDatatype; Receive: Pointer; Receive_Counts: PLongInt; Receive_Offsets: PInt64; Receive_Types: PTMpiDatatype;
  Comm: TMpiComm; Info: TMpiInfo; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Neighbor_alltoallw_init';
function MPI_Ineighbor_alltoallw(Send: Pointer; Send_Counts: PLongInt; Send_Offsets: PInt64; Send_Types:
  PTMpiDatatype; Receive: Pointer; Receive_Counts: PLongInt; Receive_Offsets: PInt64; Receive_Types: PTMpiDatatype;
  Comm: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Ineighbor_alltoallw';
function MPI_Reduce_local(From, Into: Pointer; Count: LongInt; DataType: TMpiDatatype; Operation: TMpiOp): LongInt;
  cdecl; external name 'MPI_Reduce_local';
function MPI_Op_create(Func: CodePointer; Commutes: LongInt; var Operation: TMpiOp): LongInt; cdecl; external name
  'MPI_Op_create';
function MPI_Op_free(var Operation: TMpiOp): LongInt; cdecl; external name 'MPI_Op_free';
function MPI_Op_commutative(Operation: TMpiOp; var Commutes: LongInt): LongInt; cdecl; external name
  'MPI_Op_commutative';

{ Types }
function MPI_Type_contiguous(Count: LongInt; Old: TMpiDatatype; var DataType: TMpiDatatype): LongInt; cdecl; external
  name 'MPI_Type_contiguous';
function MPI_Type_vector(Count, Length, Stride: LongInt; Old: TMpiDatatype; var DataType: TMpiDatatype): LongInt;
  cdecl; external name 'MPI_Type_vector';
function MPI_Type_create_hvector(Count, Length: LongInt; Stride: Int64; Old: TMpiDatatype; var DataType:
  TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_create_hvector';
function MPI_Type_indexed(Count: LongInt; Lengths, Offsets: PLongInt; Old: TMpiDatatype; var DataType: TMpiDatatype):
  LongInt; cdecl; external name 'MPI_Type_indexed';
function MPI_Type_create_hindexed(Count: LongInt; Lengths: PLongInt; Offsets: PInt64; Old: TMpiDatatype; var DataType:
  TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_create_hindexed';
function MPI_Type_create_indexed_block(Count, Length: LongInt; Offsets: PLongInt; Old: TMpiDatatype; var DataType:
  TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_create_indexed_block';
function MPI_Type_create_hindexed_block(Count, Length: LongInt; Offsets: PInt64; Old: TMpiDatatype; var DataType:
  TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_create_hindexed_block';
function MPI_Type_create_struct(Count: LongInt; Lengths: PLongInt; Offsets: PInt64; Types: PTMpiDatatype; var
  DataType: TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_create_struct';
function MPI_Type_create_subarray(Dimensions: LongInt; Sizes, Parts, Starts: PLongInt; Order: LongInt; Old:
  TMpiDatatype; var DataType: TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_create_subarray';
function MPI_Type_create_darray(Size, Rank, Dimensions: LongInt; Sizes, Distributions, Arguments, Grid: PLongInt;
  Order: LongInt; Old: TMpiDatatype; var DataType: TMpiDatatype): LongInt; cdecl; external name
  'MPI_Type_create_darray';
function MPI_Type_create_resized(Old: TMpiDatatype; Lower, Extent: Int64; var DataType: TMpiDatatype): LongInt; cdecl;
  external name 'MPI_Type_create_resized';
function MPI_Type_dup(Old: TMpiDatatype; var DataType: TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_dup';
function MPI_Type_hvector(Count, Length: LongInt; Stride: Int64; Old: TMpiDatatype; var DataType: TMpiDatatype):
  LongInt; cdecl; external name 'MPI_Type_hvector';
function MPI_Type_hindexed(Count: LongInt; Lengths: PLongInt; Offsets: PInt64; Old: TMpiDatatype; var DataType:
  TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_hindexed';
function MPI_Type_struct(Count: LongInt; Lengths: PLongInt; Offsets: PInt64; Types: PTMpiDatatype; var DataType:
  TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_struct';
function MPI_Type_commit(var DataType: TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_commit';
function MPI_Type_free(var DataType: TMpiDatatype): LongInt; cdecl; external name 'MPI_Type_free';
function MPI_Type_size(DataType: TMpiDatatype; var Size: LongInt): LongInt; cdecl; external name 'MPI_Type_size';
function MPI_Type_size_x(DataType: TMpiDatatype; var Size: Int64): LongInt; cdecl; external name 'MPI_Type_size_x';
function MPI_Type_get_extent(DataType: TMpiDatatype; var Lower, Extent: Int64): LongInt; cdecl; external name
  'MPI_Type_get_extent';
function MPI_Type_get_extent_x(DataType: TMpiDatatype; var Lower, Extent: Int64): LongInt; cdecl; external name
  'MPI_Type_get_extent_x';
function MPI_Type_get_true_extent(DataType: TMpiDatatype; var Lower, Extent: Int64): LongInt; cdecl; external name
  'MPI_Type_get_true_extent';
function MPI_Type_get_true_extent_x(DataType: TMpiDatatype; var Lower, Extent: Int64): LongInt; cdecl; external name
  'MPI_Type_get_true_extent_x';
function MPI_Type_extent(DataType: TMpiDatatype; var Extent: Int64): LongInt; cdecl; external name 'MPI_Type_extent';
function MPI_Type_lb(DataType: TMpiDatatype; var Lower: Int64): LongInt; cdecl; external name 'MPI_Type_lb';
function MPI_Type_ub(DataType: TMpiDatatype; var Upper: Int64): LongInt; cdecl; external name 'MPI_Type_ub';
function MPI_Type_get_envelope(DataType: TMpiDatatype; var Integers, Addresses, Types, Combiner: LongInt): LongInt;
  cdecl; external name 'MPI_Type_get_envelope';
function MPI_Type_get_contents(DataType: TMpiDatatype; Max_Integers, Max_Addresses, Max_Types: LongInt; Integers:
  PLongInt; Addresses: PInt64; Types: PTMpiDatatype): LongInt; cdecl; external name 'MPI_Type_get_contents';
function MPI_Type_get_name(DataType: TMpiDatatype; Name: PChar; var Length: LongInt): LongInt; cdecl; external name
  'MPI_Type_get_name';
function MPI_Type_set_name(DataType: TMpiDatatype; Name: PChar): LongInt; cdecl; external name 'MPI_Type_set_name';
function MPI_Type_match_size(Kind, Size: LongInt; var DataType: TMpiDatatype): LongInt; cdecl; external name
  'MPI_Type_match_size';
function MPI_Get_address(Place: Pointer; var Address: Int64): LongInt; cdecl; external name 'MPI_Get_address';
function MPI_Address(Place: Pointer; var Address: Int64): LongInt; cdecl; external name 'MPI_Address';
function MPI_Aint_add(Base, Offset: Int64): Int64; cdecl; external name 'MPI_Aint_add';
function MPI_Aint_diff(A, B: Int64): Int64; cdecl; external name 'MPI_Aint_diff';
function MPI_Pack(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Buffer: Pointer; Size: LongInt; var Position:
  LongInt; Comm: TMpiComm): LongInt; cdecl; external name 'MPI_Pack';
function MPI_Unpack(Buffer: Pointer; Size: LongInt; var Position: LongInt; Data: Pointer; Count: LongInt; DataType:
  TMpiDatatype; Comm: TMpiComm): LongInt; cdecl; external name 'MPI_Unpack';
function MPI_Pack_size(Count: LongInt; DataType: TMpiDatatype; Comm: TMpiComm; var Size: LongInt): LongInt; cdecl;
  external name 'MPI_Pack_size';
function MPI_Pack_external(Form: PChar; Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Buffer: Pointer; Size:
  Int64; var Position: Int64): LongInt; cdecl; external name 'MPI_Pack_external';
function MPI_Unpack_external(Form: PChar; Buffer: Pointer; Size: Int64; var Position: Int64; Data: Pointer; Count:
  LongInt; DataType: TMpiDatatype): LongInt; cdecl; external name 'MPI_Unpack_external';
function MPI_Pack_external_size(Form: PChar; Count: LongInt; DataType: TMpiDatatype; var Size: Int64): LongInt; cdecl;
  external name 'MPI_Pack_external_size';

{ Groups and communicators }
function MPI_Comm_group(Comm: TMpiComm; var Group: TMpiGroup): LongInt; cdecl; external name 'MPI_Comm_group';
function MPI_Comm_compare(A, B: TMpiComm; var Result: LongInt): LongInt; cdecl; external name 'MPI_Comm_compare';
function MPI_Comm_dup(Comm: TMpiComm; var Made: TMpiComm): LongInt; cdecl; external name 'MPI_Comm_dup';
function MPI_Comm_dup_with_info(Comm: TMpiComm; Info: TMpiInfo; var Made: TMpiComm): LongInt; cdecl; external name
  'MPI_Comm_dup_with_info';
function MPI_Comm_idup(Comm: TMpiComm; var Made: TMpiComm; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Comm_idup';
function MPI_Comm_create(Comm: TMpiComm; Group: TMpiGroup; var Made: TMpiComm): LongInt; cdecl; external name
  'MPI_Comm_create';
function MPI_Comm_create_group(Comm: TMpiComm; Group: TMpiGroup; Tag: LongInt; var Made: TMpiComm): LongInt; cdecl;
  external name 'MPI_Comm_create_group';
function MPI_Comm_split(Comm: TMpiComm; Color, Key: LongInt; var Made: TMpiComm): LongInt; cdecl; external name
  'MPI_Comm_split';
function MPI_Comm_split_type(Comm: TMpiComm; Kind, Key: LongInt; Info: TMpiInfo; var Made: TMpiComm): LongInt; cdecl;
  external name 'MPI_Comm_split_type';
function MPI_Comm_free(var Comm: TMpiComm): LongInt; cdecl; external name 'MPI_Comm_free';
function MPI_Comm_set_name(Comm: TMpiComm; Name: PChar): LongInt; cdecl; external name 'MPI_Comm_set_name';
function MPI_Comm_get_name(Comm: TMpiComm; Name: PChar; var Length: LongInt): LongInt; cdecl; external name
  'MPI_Comm_get_name';
function MPI_Comm_test_inter(Comm: TMpiComm; var Flag: LongInt): LongInt; cdecl; external name 'MPI_Comm_test_inter';
function MPI_Comm_remote_size(Comm: TMpiComm; var Size: LongInt): LongInt; cdecl; external name 'MPI_Comm_remote_size';
function MPI_Comm_remote_group(Comm: TMpiComm; var Group: TMpiGroup): LongInt; cdecl; external name
  'MPI_Comm_remote_group';
function MPI_Comm_set_info(Comm: TMpiComm; Info: TMpiInfo): LongInt; cdecl; external name 'MPI_Comm_set_info';
function MPI_Comm_get_info(Comm: TMpiComm; var Info: TMpiInfo): LongInt; cdecl; external name 'MPI_Comm_get_info';
function MPI_Comm_get_parent(var Parent: TMpiComm): LongInt; cdecl; external name 'MPI_Comm_get_parent';
function MPI_Comm_disconnect(var Comm: TMpiComm): LongInt; cdecl; external name 'MPI_Comm_disconnect';
function MPI_Intercomm_create(Local: TMpiComm; Local_Leader: LongInt; Peer: TMpiComm; Remote_Leader, Tag: LongInt; var
  Made: TMpiComm): LongInt; cdecl; external name 'MPI_Intercomm_create';
function MPI_Intercomm_merge(Inter: TMpiComm; High: LongInt; var Made: TMpiComm): LongInt; cdecl; external name
  'MPI_Intercomm_merge';
function MPI_Group_size(Group: TMpiGroup; var Size: LongInt): LongInt; cdecl; external name 'MPI_Group_size';
function MPI_Group_rank(Group: TMpiGroup; var Rank: LongInt): LongInt; cdecl; external name 'MPI_Group_rank';
function MPI_Group_compare(A, B: TMpiGroup; var Result: LongInt): LongInt; cdecl; external name 'MPI_Group_compare';
function MPI_Group_translate_ranks(A: TMpiGroup; Count: LongInt; Ranks: PLongInt; B: TMpiGroup; Result: PLongInt):
  LongInt; cdecl; external name 'MPI_Group_translate_ranks';
function MPI_Group_union(A, B: TMpiGroup; var Made: TMpiGroup): LongInt; cdecl; external name 'MPI_Group_union';
function MPI_Group_intersection(A, B: TMpiGroup; var Made: TMpiGroup): LongInt; cdecl; external name
  'MPI_Group_intersection';
function MPI_Group_difference(A, B: TMpiGroup; var Made: TMpiGroup): LongInt; cdecl; external name
  'MPI_Group_difference';
function MPI_Group_incl(Group: TMpiGroup; Count: LongInt; Ranks: PLongInt; var Made: TMpiGroup): LongInt; cdecl;
  external name 'MPI_Group_incl';
function MPI_Group_excl(Group: TMpiGroup; Count: LongInt; Ranks: PLongInt; var Made: TMpiGroup): LongInt; cdecl;
  external name 'MPI_Group_excl';
function MPI_Group_range_incl(Group: TMpiGroup; Count: LongInt; Ranges: PLongInt; var Made: TMpiGroup): LongInt;
  cdecl; external name 'MPI_Group_range_incl';
function MPI_Group_range_excl(Group: TMpiGroup; Count: LongInt; Ranges: PLongInt; var Made: TMpiGroup): LongInt;
  cdecl; external name 'MPI_Group_range_excl';
function MPI_Group_free(var Group: TMpiGroup): LongInt; cdecl; external name 'MPI_Group_free';

{ Attributes }
function MPI_Comm_create_keyval(Copy, Remove: CodePointer; var Key: LongInt; State: Pointer): LongInt; cdecl; external
  name 'MPI_Comm_create_keyval';
function MPI_Comm_free_keyval(var Key: LongInt): LongInt; cdecl; external name 'MPI_Comm_free_keyval';
function MPI_Comm_set_attr(Comm: TMpiComm; Key: LongInt; Value: Pointer): LongInt; cdecl; external name
  'MPI_Comm_set_attr';
function MPI_Comm_get_attr(Comm: TMpiComm; Key: LongInt; Value: Pointer; var Flag: LongInt): LongInt; cdecl; external
  name 'MPI_Comm_get_attr';
function MPI_Comm_delete_attr(Comm: TMpiComm; Key: LongInt): LongInt; cdecl; external name 'MPI_Comm_delete_attr';
function MPI_Keyval_create(Copy, Remove: CodePointer; var Key: LongInt; State: Pointer): LongInt; cdecl; external name
  'MPI_Keyval_create';
function MPI_Keyval_free(var Key: LongInt): LongInt; cdecl; external name 'MPI_Keyval_free';
function MPI_Attr_put(Comm: TMpiComm; Key: LongInt; Value: Pointer): LongInt; cdecl; external name 'MPI_Attr_put';
function MPI_Attr_get(Comm: TMpiComm; Key: LongInt; Value: Pointer; var Flag: LongInt): LongInt; cdecl; external name
  'MPI_Attr_get';
function MPI_Attr_delete(Comm: TMpiComm; Key: LongInt): LongInt; cdecl; external name 'MPI_Attr_delete';
function MPI_Type_create_keyval(Copy, Remove: CodePointer; var Key: LongInt; State: Pointer): LongInt; cdecl; external
  name 'MPI_Type_create_keyval';
function MPI_Type_free_keyval(var Key: LongInt): LongInt; cdecl; external name 'MPI_Type_free_keyval';
function MPI_Type_set_attr(DataType: TMpiDatatype; Key: LongInt; Value: Pointer): LongInt; cdecl; external name
  'MPI_Type_set_attr';
function MPI_Type_get_attr(DataType: TMpiDatatype; Key: LongInt; Value: Pointer; var Flag: LongInt): LongInt; cdecl;
  external name 'MPI_Type_get_attr';
function MPI_Type_delete_attr(DataType: TMpiDatatype; Key: LongInt): LongInt; cdecl; external name
  'MPI_Type_delete_attr';
function MPI_Win_create_keyval(Copy, Remove: CodePointer; var Key: LongInt; State: Pointer): LongInt; cdecl; external
  name 'MPI_Win_create_keyval';
function MPI_Win_free_keyval(var Key: LongInt): LongInt; cdecl; external name 'MPI_Win_free_keyval';
function MPI_Win_set_attr(Win: TMpiWin; Key: LongInt; Value: Pointer): LongInt; cdecl; external name 'MPI_Win_set_attr';
function MPI_Win_get_attr(Win: TMpiWin; Key: LongInt; Value: Pointer; var Flag: LongInt): LongInt; cdecl; external
  name 'MPI_Win_get_attr';
function MPI_Win_delete_attr(Win: TMpiWin; Key: LongInt): LongInt; cdecl; external name 'MPI_Win_delete_attr';

{ Topologies }
function MPI_Dims_create(Nodes, Dimensions: LongInt; Sizes: PLongInt): LongInt; cdecl; external name 'MPI_Dims_create';
function MPI_Cart_create(Comm: TMpiComm; Dimensions: LongInt; Sizes, Periodic: PLongInt; Reorder: LongInt; var Made:
  TMpiComm): LongInt; cdecl; external name 'MPI_Cart_create';
function MPI_Cartdim_get(Comm: TMpiComm; var Dimensions: LongInt): LongInt; cdecl; external name 'MPI_Cartdim_get';
function MPI_Cart_get(Comm: TMpiComm; Max: LongInt; Sizes, Periodic, Coordinates: PLongInt): LongInt; cdecl; external
  name 'MPI_Cart_get';
function MPI_Cart_rank(Comm: TMpiComm; Coordinates: PLongInt; var Rank: LongInt): LongInt; cdecl; external name
  'MPI_Cart_rank';
function MPI_Cart_coords(Comm: TMpiComm; Rank, Max: LongInt; Coordinates: PLongInt): LongInt; cdecl; external name
  'MPI_Cart_coords';
function MPI_Cart_shift(Comm: TMpiComm; Dimension, Distance: LongInt; var Source, Destination: LongInt): LongInt;
  cdecl; external name 'MPI_Cart_shift';
function MPI_Cart_sub(Comm: TMpiComm; Kept: PLongInt; var Made: TMpiComm): LongInt; cdecl; external name 'MPI_Cart_sub';
function MPI_Cart_map(Comm: TMpiComm; Dimensions: LongInt; Sizes, Periodic: PLongInt; var Rank: LongInt): LongInt;
  cdecl; external name 'MPI_Cart_map';
function MPI_Graph_create(Comm: TMpiComm; Nodes: LongInt; Index, Edges: PLongInt; Reorder: LongInt; var Made:
  TMpiComm): LongInt; cdecl; external name 'MPI_Graph_create';
function MPI_Graphdims_get(Comm: TMpiComm; var Nodes, Edges: LongInt): LongInt; cdecl; external name
  'MPI_Graphdims_get';
function MPI_Graph_get(Comm: TMpiComm; Max_Index, Max_Edges: LongInt; Index, Edges: PLongInt): LongInt; cdecl;
  external name 'MPI_Graph_get';
function MPI_Graph_neighbors_count(Comm: TMpiComm; Rank: LongInt; var Count: LongInt): LongInt; cdecl; external name
  'MPI_Graph_neighbors_count';
function MPI_Graph_neighbors(Comm: TMpiComm; Rank, Max: LongInt; Neighbors: PLongInt): LongInt; cdecl; external name
  'MPI_Graph_neighbors';
function MPI_Graph_map(Comm: TMpiComm; Nodes: LongInt; Index, Edges: PLongInt; var Rank: LongInt): LongInt; cdecl;
  external name 'MPI_Graph_map';
function MPI_Dist_graph_create_adjacent(Comm: TMpiComm; Source_Count: LongInt; Sources, Source_Weights: PLongInt;
  Destination_Count: LongInt; Destinations, Destination_Weights: PLongInt; Info: TMpiInfo; Reorder: LongInt; var Made:
  TMpiComm): LongInt; cdecl; external name 'MPI_Dist_graph_create_adjacent';
function MPI_Dist_graph_create(Comm: TMpiComm; Nodes: LongInt; Sources, Degrees, Destinations, Weights: PLongInt; Info:
  TMpiInfo; Reorder: LongInt; var Made: TMpiComm): LongInt; cdecl; external name 'MPI_Dist_graph_create';
function MPI_Dist_graph_neighbors_count(Comm: TMpiComm; var Source_Count, Destination_Count, Weighted: LongInt):
  LongInt; cdecl; external name 'MPI_Dist_graph_neighbors_count';
function MPI_Dist_graph_neighbors(Comm: TMpiComm; Max_Sources: LongInt; Sources, Source_Weights: PLongInt;
  Max_Destinations: LongInt; Destinations, Destination_Weights: PLongInt): LongInt; cdecl; external name
  'MPI_Dist_graph_neighbors';
function MPI_Topo_test(Comm: TMpiComm; var Kind: LongInt): LongInt; cdecl; external name 'MPI_Topo_test';

{ Errors }
function MPI_Comm_create_errhandler(Func: CodePointer; var Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Comm_create_errhandler';
function MPI_Comm_set_errhandler(Comm: TMpiComm; Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Comm_set_errhandler';
function MPI_Comm_get_errhandler(Comm: TMpiComm; var Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Comm_get_errhandler';
function MPI_Comm_call_errhandler(Comm: TMpiComm; Code: LongInt): LongInt; cdecl; external name
  'MPI_Comm_call_errhandler';
function MPI_Errhandler_create(Func: CodePointer; var Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Errhandler_create';
function MPI_Errhandler_set(Comm: TMpiComm; Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Errhandler_set';
function MPI_Errhandler_get(Comm: TMpiComm; var Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Errhandler_get';
function MPI_Errhandler_free(var Handler: TMpiErrhandler): LongInt; cdecl; external name 'MPI_Errhandler_free';
function MPI_Win_create_errhandler(Func: CodePointer; var Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Win_create_errhandler';
function MPI_Win_set_errhandler(Win: TMpiWin; Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Win_set_errhandler';
function MPI_Win_get_errhandler(Win: TMpiWin; var Handler: TMpiErrhandler): LongInt; cdecl; external name
  'MPI_Win_get_errhandler';
function MPI_Win_call_errhandler(Win: TMpiWin; Code: LongInt): LongInt; cdecl; external name 'MPI_Win_call_errhandler';
function MPI_Error_class(Code: LongInt; var Error_Class: LongInt): LongInt; cdecl; external name 'MPI_Error_class';
function MPI_Error_string(Code: LongInt; Text: PChar; var Length: LongInt): LongInt; cdecl; external name
  'MPI_Error_string';
function MPI_Add_error_class(var Error_Class: LongInt): LongInt; cdecl; external name 'MPI_Add_error_class';
function MPI_Add_error_code(Error_Class: LongInt; var Code: LongInt): LongInt; cdecl; external name
  'MPI_Add_error_code';
function MPI_Add_error_string(Code: LongInt; Text: PChar): LongInt; cdecl; external name 'MPI_Add_error_string';

{ Info }
function MPI_Info_create(var Info: TMpiInfo): LongInt; cdecl; external name 'MPI_Info_create';
function MPI_Info_create_env(Argc: LongInt; Argv: PPChar; var Info: TMpiInfo): LongInt; cdecl; external name
  'MPI_Info_create_env';
function MPI_Info_free(var Info: TMpiInfo): LongInt; cdecl; external name 'MPI_Info_free';
function MPI_Info_dup(Info: TMpiInfo; var Made: TMpiInfo): LongInt; cdecl; external name 'MPI_Info_dup';
function MPI_Info_set(Info: TMpiInfo; Key, Value: PChar): LongInt; cdecl; external name 'MPI_Info_set';
function MPI_Info_get(Info: TMpiInfo; Key: PChar; Size: LongInt; Value: PChar; var Flag: LongInt): LongInt; cdecl;
  external name 'MPI_Info_get';
function MPI_Info_get_valuelen(Info: TMpiInfo; Key: PChar; var Length, Flag: LongInt): LongInt; cdecl; external name
  'MPI_Info_get_valuelen';
function MPI_Info_get_nkeys(Info: TMpiInfo; var Count: LongInt): LongInt; cdecl; external name 'MPI_Info_get_nkeys';
function MPI_Info_get_nthkey(Info: TMpiInfo; N: LongInt; Key: PChar): LongInt; cdecl; external name
  'MPI_Info_get_nthkey';
function MPI_Info_delete(Info: TMpiInfo; Key: PChar): LongInt; cdecl; external name 'MPI_Info_delete';

{ One-sided communication }
function MPI_Win_create(Base: Pointer; Size: Int64; DispUnit: LongInt; Info: TMpiInfo; Comm: TMpiComm; var Win:
  TMpiWin): LongInt; cdecl; external name 'MPI_Win_create';
function MPI_Win_allocate(Size: Int64; DispUnit: LongInt; Info: TMpiInfo; Comm: TMpiComm; Base: Pointer; var Win:
  TMpiWin): LongInt; cdecl; external name 'MPI_Win_allocate';
function MPI_Win_allocate_shared(Size: Int64; DispUnit: LongInt; Info: TMpiInfo; Comm: TMpiComm; Base: Pointer; var
  Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_allocate_shared';
function MPI_Win_shared_query(Win: TMpiWin; Rank: LongInt; var Size: Int64; var DispUnit: LongInt; Base: Pointer):
  LongInt; cdecl; external name 'MPI_Win_shared_query';
function MPI_Win_create_dynamic(Info: TMpiInfo; Comm: TMpiComm; var Win: TMpiWin): LongInt; cdecl; external name
  'MPI_Win_create_dynamic';
function MPI_Win_attach(Win: TMpiWin; Base: Pointer; Size: Int64): LongInt; cdecl; external name 'MPI_Win_attach';
function MPI_Win_detach(Win: TMpiWin; Base: Pointer): LongInt; cdecl; external name 'MPI_Win_detach';
function MPI_Win_free(var Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_free';
function MPI_Win_get_group(Win: TMpiWin; var Group: TMpiGroup): LongInt; cdecl; external name 'MPI_Win_get_group';
function MPI_Win_set_name(Win: TMpiWin; Name: PChar): LongInt; cdecl; external name 'MPI_Win_set_name';
function MPI_Win_get_name(Win: TMpiWin; Name: PChar; var Length: LongInt): LongInt; cdecl; external name
  'MPI_Win_get_name';
function MPI_Win_fence(Assertion: LongInt; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_fence';
function MPI_Win_post(Group: TMpiGroup; Assertion: LongInt; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_post';
function MPI_Win_start(Group: TMpiGroup; Assertion: LongInt; Win: TMpiWin): LongInt; cdecl; external name
  'MPI_Win_start';
function MPI_Win_complete(Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_complete';
function MPI_Win_wait(Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_wait';
function MPI_Win_test(Win: TMpiWin; var Flag: LongInt): LongInt; cdecl; external name 'MPI_Win_test';
function MPI_Win_lock(Kind, Rank, Assertion: LongInt; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_lock';
function MPI_Win_unlock(Rank: LongInt; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_unlock';
function MPI_Win_lock_all(Assertion: LongInt; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_lock_all';
function MPI_Win_unlock_all(Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_unlock_all';
function MPI_Win_flush(Rank: LongInt; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_flush';
function MPI_Win_flush_all(Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_flush_all';
function MPI_Win_flush_local(Rank: LongInt; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_flush_local';
function MPI_Win_flush_local_all(Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_flush_local_all';
function MPI_Win_sync(Win: TMpiWin): LongInt; cdecl; external name 'MPI_Win_sync';
function MPI_Put(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Rank: LongInt; Offset: Int64; Target_Count:
  LongInt; Target_Type: TMpiDatatype; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Put';
function MPI_Get(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Rank: LongInt; Offset: Int64; Target_Count:
  LongInt; Target_Type: TMpiDatatype; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Get';
function MPI_Accumulate(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Rank: LongInt; Offset: Int64;
  Target_Count: LongInt; Target_Type: TMpiDatatype; Operation: TMpiOp; Win: TMpiWin): LongInt; cdecl; external name
  'MPI_Accumulate';
function MPI_Get_accumulate(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Result: Pointer; Result_Count:
  LongInt; Result_Type: TMpiDatatype; Rank: LongInt; Offset: Int64; Target_Count: LongInt; Target_Type: TMpiDatatype;
  Operation: TMpiOp; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Get_accumulate';
function MPI_Fetch_and_op(Data, Result: Pointer; DataType: TMpiDatatype; Rank: LongInt; Offset: Int64; Operation:
  TMpiOp; Win: TMpiWin): LongInt; cdecl; external name 'MPI_Fetch_and_op';
function MPI_Compare_and_swap(Data, Compare, Result: Pointer; DataType: TMpiDatatype; Rank: LongInt; Offset: Int64;
  Win: TMpiWin): LongInt; cdecl; external name 'MPI_Compare_and_swap';
function MPI_Rput(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Rank: LongInt; Offset: Int64; Target_Count:
  LongInt; Target_Type: TMpiDatatype; Win: TMpiWin; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Rput';
function MPI_Rget(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Rank: LongInt; Offset: Int64; Target_Count:
  LongInt; Target_Type: TMpiDatatype; Win: TMpiWin; var Request: TMpiRequest): LongInt; cdecl; external name
  'MPI_Rget';
function MPI_Raccumulate(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Rank: LongInt; Offset: Int64;
  Target_Count: LongInt; Target_Type: TMpiDatatype; Operation: TMpiOp; Win: TMpiWin; var Request: TMpiRequest):
  LongInt; cdecl; external name 'MPI_Raccumulate';
function MPI_Rget_accumulate(Data: Pointer; Count: LongInt; DataType: TMpiDatatype; Result: Pointer; Result_Count:
  LongInt; Result_Type: TMpiDatatype; Rank: LongInt; Offset: Int64; Target_Count: LongInt; Target_Type: TMpiDatatype;
  Operation: TMpiOp; Win: TMpiWin; var Request: TMpiRequest): LongInt; cdecl; external name 'MPI_Rget_accumulate';

implementation

end.
