package deltaferry.warehouse;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.spark.sql.SparkSession;

/**
 * The calls of TCLIService in the Databricks dialect (direct results, Arrow, parameters), as far as a client
 * makes them. Field numbers are those of TCLIService.thrift; 1281 and up are Databricks' own.
 */
final class ThriftService {
  /** SPARK_CLI_SERVICE_PROTOCOL_V8: the client then sends parameters and reads Arrow. */
  private static final int PROTOCOL = 0xA508;

  private static final int FETCH_FIRST = 4;
  private static final long DIRECT_RESULT_SECONDS = 5, DEFAULT_ROWS = 100_000;

  private final SparkSession root;
  private final Sessions sessions;
  private final StatementRunner runner;
  private final Dialect dialect;
  private final Path spillDirectory;

  ThriftService(SparkSession root, Sessions sessions, StatementRunner runner, Dialect dialect, Path spillDirectory) {
    this.root = root;
    this.sessions = sessions;
    this.runner = runner;
    this.dialect = dialect;
    this.spillDirectory = spillDirectory;
  }

  ThriftStruct call(String method, ThriftStruct request) throws Exception {
    Handle handle = Handle.read(request.struct(1).struct(1));
    return switch (method) {
      case "OpenSession" -> openSession(request);
      case "CloseSession" -> {
        sessions.close(handle); // closing twice is fine: the client repeats it when an answer was lost
        yield answer(Status.ok());
      }
      case "GetInfo" -> getInfo(handle, request);
      case "ExecuteStatement" -> {
        String text = request.text(2);
        List<ThriftStruct> parameters = request.structs(1288);
        yield start(handle, request, operation -> spark -> dialect.run(spark, operation, text, parameters));
      }
      case "GetCatalogs" -> metadata(handle, request, Metadata::catalogs);
      case "GetTableTypes" -> metadata(handle, request, Metadata::tableTypes);
      case "GetSchemas" -> metadata(handle, request, spark -> Metadata.schemas(spark, request.text(3)));
      case "GetTables" ->
          metadata(handle, request, spark -> Metadata.tables(spark, request.text(3), request.text(4)));
      case "GetColumns" ->
          metadata(
              handle,
              request,
              spark -> Metadata.columns(spark, request.text(3), request.text(4), request.text(5)));
      case "GetOperationStatus" -> withOperation(handle, this::status);
      case "GetResultSetMetadata" -> withOperation(handle, this::resultMetadata);
      case "FetchResults" -> withOperation(handle, operation -> fetch(operation, request));
      case "CancelOperation" ->
          withOperation(
              handle,
              operation -> {
                operation.stop(Operation.State.CANCELED);
                return answer(Status.ok());
              });
      case "CloseOperation" -> {
        Operation operation = sessions.findOperation(handle);
        if (operation != null) operation.close(); // else closed before, as above
        yield answer(Status.ok());
      }
      default ->
          answer(Status.error(method + " is not supported by the local warehouse", Status.NOT_SUPPORTED));
    };
  }

  private ThriftStruct openSession(ThriftStruct request) {
    SparkSession spark = root.newSession();
    ThriftStruct namespace = request.struct(1284);
    try {
      request.texts(4).forEach((key, value) -> spark.conf().set(key, value));
      if (namespace.has(1)) spark.sql("SET CATALOG " + quote(namespace.text(1)));
      if (namespace.has(2)) spark.sql("USE SCHEMA " + quote(namespace.text(2)));
    } catch (Exception e) {
      return answer(Status.error(Failure.of(e))).with(2, PROTOCOL);
    }
    Session session = new Session(spark);
    sessions.add(session);
    return answer(Status.ok())
        .with(2, PROTOCOL)
        .with(3, new ThriftStruct().with(1, session.handle.write()))
        .with(4, Map.of())
        .with(1284, request.has(1284) ? namespace : null)
        .with(1285, true);
  }

  private ThriftStruct getInfo(Handle handle, ThriftStruct request) {
    if (sessions.find(handle) == null) return answer(Status.invalidSession(handle));
    final int dbmsVersion = 18;
    String value = request.number(2, 0) == dbmsVersion ? root.version() : "Spark SQL";
    return answer(Status.ok()).with(2, new ThriftStruct().with(1, value));
  }

  private interface QueryOf {
    StatementRunner.Query of(Operation operation);
  }

  private ThriftStruct metadata(Handle handle, ThriftStruct request, StatementRunner.Query query) throws Exception {
    return start(handle, request, operation -> query);
  }

  /** Starts a statement; where the client asked for it and it is quick, the answer carries its first rows. */
  private ThriftStruct start(Handle handle, ThriftStruct request, QueryOf query) throws Exception {
    Session session = sessions.find(handle);
    if (session == null) return answer(Status.invalidSession(handle));
    Operation operation = new Operation(session, spillDirectory);
    if (!session.add(operation)) {
      operation.close();
      return answer(Status.invalidSession(handle));
    }
    runner.start(operation, query.of(operation), timeoutSeconds(session, request));
    boolean direct = request.has(1281);
    if (!direct || !operation.await(DIRECT_RESULT_SECONDS)) return answer(Status.ok()).with(2, operation.handle());

    boolean finished = operation.state() == Operation.State.FINISHED;
    boolean open = false;
    ThriftStruct results = new ThriftStruct().with(1, operation.status());
    if (finished) results.with(2, operation.metadata());
    if (finished && operation.hasResult()) {
      ResultStore.Page page = operation.store.page(maxRows(request.struct(1281), 1), true);
      results.with(3, rowSet(page));
      open = page.more();
    }
    ThriftStruct response = answer(Status.ok()).with(2, operation.handle()).with(1281, results);
    if (!open) {
      results.with(4, answer(Status.ok()));
      operation.close();
    }
    return response;
  }

  /** The statement's own limit (compute clusters honour it) or the session's STATEMENT_TIMEOUT (warehouses). */
  private static long timeoutSeconds(Session session, ThriftStruct request) {
    long own = request.number(5, 0);
    if (own > 0) return own;
    try {
      return Long.parseLong(session.spark.conf().get("STATEMENT_TIMEOUT", "0").trim());
    } catch (NumberFormatException e) {
      return 0;
    }
  }

  private interface OnOperation {
    ThriftStruct answer(Operation operation) throws Exception;
  }

  private ThriftStruct withOperation(Handle handle, OnOperation on) throws Exception {
    Operation operation = sessions.findOperation(handle);
    return operation == null ? answer(Status.invalidOperation(handle)) : on.answer(operation);
  }

  /** Answers late rather than "still running": the client sleeps 100 ms before it asks again. */
  private ThriftStruct status(Operation operation) throws InterruptedException {
    operation.await(1);
    return operation.status();
  }

  private ThriftStruct resultMetadata(Operation operation) throws InterruptedException {
    operation.await();
    return operation.state() == Operation.State.FINISHED ? operation.metadata() : notFinished(operation);
  }

  private ThriftStruct fetch(Operation operation, ThriftStruct request) throws Exception {
    operation.await();
    if (operation.state() != Operation.State.FINISHED) return notFinished(operation);
    return rowSet(operation.store.page(maxRows(request, 3), request.number(2, 0) == FETCH_FIRST));
  }

  private static ThriftStruct notFinished(Operation operation) {
    Failure failure = operation.failure();
    String text = failure.message() == null ? "The operation was " + operation.state() : failure.message();
    return answer(Status.error(text, failure.sqlState()));
  }

  private static ThriftStruct rowSet(ResultStore.Page page) {
    ThriftStruct rows =
        new ThriftStruct().with(1, page.firstRow()).with(2, List.of()).with(1281, page.batches());
    return answer(Status.ok()).with(2, page.more()).with(3, rows);
  }

  private static long maxRows(ThriftStruct struct, int id) {
    return Math.max(1, struct.number(id, DEFAULT_ROWS));
  }

  private static ThriftStruct answer(ThriftStruct status) {
    return new ThriftStruct().with(1, status);
  }

  private static String quote(String name) {
    return "`" + name.replace("`", "``") + "`";
  }
}
