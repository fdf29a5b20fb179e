package deltaferry.warehouse;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** One statement on its way from RUNNING to one final state, and its result. */
final class Operation {
  /** TOperationState. */
  enum State {
    RUNNING(1),
    FINISHED(2),
    CANCELED(3),
    CLOSED(4),
    FAILED(5),
    TIMED_OUT(8);

    final int code;

    State(int code) {
      this.code = code;
    }
  }

  /** SQL's "processing was canceled as requested". */
  private static final String TIMEOUT = "57014";

  final Handle handle = Handle.create();
  final Session session;
  final ResultStore store;
  private final CountDownLatch settled = new CountDownLatch(1);
  private State state = State.RUNNING;
  private Failure failure = new Failure(null, null);
  private Thread runner;
  private ResultSchema schema = ResultSchema.NONE;
  private boolean staging;

  Operation(Session session, java.nio.file.Path spillDirectory) {
    this.session = session;
    this.store = new ResultStore(handle.toString(), spillDirectory);
  }

  /** The calling thread runs the statement from here on; false if it was stopped before it began. */
  synchronized boolean begin() {
    if (state != State.RUNNING) return false;
    runner = Thread.currentThread();
    return true;
  }

  /** The calling thread is done with the statement, with {@code thrown} or (null) with success. */
  synchronized void end(Throwable thrown) {
    runner = null;
    boolean ignored = Thread.interrupted(); // the thread goes back to its pool
    if (state != State.RUNNING) return;
    if (thrown != null) failure = Failure.of(thrown);
    settle(thrown == null ? State.FINISHED : State.FAILED);
  }

  /**
   * Stops a statement that still runs. The answer to the client does not wait for its tasks to notice; whether
   * a commit that was under way still lands is not known, as in the real service.
   */
  void stop(State why) {
    synchronized (this) {
      if (state != State.RUNNING) return;
      if (why == State.TIMED_OUT) failure = new Failure("The statement timed out", TIMEOUT);
      settle(why);
      if (runner != null) runner.interrupt();
    }
    session.spark.sparkContext().cancelJobGroupAndFutureJobs(handle.toString());
  }

  /** Stops it and frees its result. */
  void close() {
    stop(State.CLOSED);
    store.close();
    session.forget(this);
  }

  /** Waits for a final state; false if the statement still runs after the given time. */
  boolean await(long seconds) throws InterruptedException {
    return settled.await(seconds, TimeUnit.SECONDS);
  }

  void await() throws InterruptedException {
    settled.await();
  }

  synchronized State state() {
    return state;
  }

  synchronized Failure failure() {
    return failure;
  }

  synchronized void describe(ResultSchema schema) {
    this.schema = schema;
  }

  synchronized void markStaging() {
    staging = true;
  }

  synchronized boolean hasResult() {
    return schema != ResultSchema.NONE;
  }

  /** While it runs nobody knows; the client then asks again, where "no" would end its interest. */
  synchronized ThriftStruct handle() {
    return new ThriftStruct()
        .with(1, handle.write())
        .with(2, 0)
        .with(3, state != State.FINISHED || hasResult());
  }

  synchronized ThriftStruct status() {
    return new ThriftStruct()
        .with(1, Status.ok())
        .with(2, state.code)
        .with(3, failure.sqlState())
        .with(5, failure.message())
        .with(9, state == State.FINISHED ? hasResult() : null)
        .with(1281, failure.message());
  }

  synchronized ThriftStruct metadata() {
    return new ThriftStruct()
        .with(1, Status.ok())
        .with(2, schema.columns())
        .with(1281, 0) // ARROW_BASED_SET
        .with(1282, false) // not compressed
        .with(1283, schema.arrow())
        .with(1287, staging);
  }

  private void settle(State last) {
    state = last;
    settled.countDown();
  }
}
