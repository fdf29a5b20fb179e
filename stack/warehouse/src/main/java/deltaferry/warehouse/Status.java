package deltaferry.warehouse;

/** The TStatus in every answer. */
final class Status {
  static final String NO_SUCH_SESSION = "08003", NOT_SUPPORTED = "0A000", INTERNAL = "XX000";
  private static final int SUCCESS = 0, ERROR = 3, INVALID_HANDLE = 4;

  private Status() {}

  static ThriftStruct ok() {
    return new ThriftStruct().with(1, SUCCESS);
  }

  static ThriftStruct error(Failure failure) {
    return status(ERROR, failure.message(), failure.sqlState());
  }

  static ThriftStruct error(String message, String sqlState) {
    return status(ERROR, message, sqlState);
  }

  /** HiveServer2's words, by which drivers know that they must open a new session. */
  static ThriftStruct invalidSession(Handle handle) {
    return status(INVALID_HANDLE, "Invalid SessionHandle: SessionHandle [" + handle + "]", NO_SUCH_SESSION);
  }

  static ThriftStruct invalidOperation(Handle handle) {
    return status(INVALID_HANDLE, "Invalid OperationHandle: OperationHandle [" + handle + "]", "HY000");
  }

  private static ThriftStruct status(int code, String message, String sqlState) {
    return new ThriftStruct().with(1, code).with(3, sqlState).with(5, message).with(6, message);
  }
}
