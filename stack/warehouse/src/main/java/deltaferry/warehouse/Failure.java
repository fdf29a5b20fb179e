package deltaferry.warehouse;

import java.io.UncheckedIOException;
import java.lang.reflect.InvocationTargetException;
import java.util.concurrent.ExecutionException;
import org.apache.spark.SparkThrowable;

/** What a client is told of a failed statement: the engine's own text and SQLSTATE (null if it gave none). */
record Failure(String message, String sqlState) {
  static Failure of(Throwable thrown) {
    Throwable cause = thrown;
    while (isWrapper(cause) && cause.getCause() != null) cause = cause.getCause();
    String text = cause.getMessage();
    boolean plain = text == null || cause instanceof Error; // such a text alone says little
    return new Failure(plain ? cause.toString() : text.strip(), sqlState(cause));
  }

  /**
   * A statement that fails in a task arrives as "Job aborted due to stage failure ..." with the task's stack
   * trace in the text, or as TASK_WRITE_FAILED; the SQL warehouse tells the error itself.
   */
  private static boolean isWrapper(Throwable t) {
    if (t instanceof ExecutionException || t instanceof InvocationTargetException) return true;
    if (t instanceof UncheckedIOException) return true;
    return t instanceof org.apache.spark.SparkException spark
        && (spark.getCondition() == null || spark.getCondition().equals("TASK_WRITE_FAILED"))
        && spark.getCause() instanceof SparkThrowable cause
        && cause.getCondition() != null;
  }

  private static String sqlState(Throwable thrown) {
    for (Throwable t = thrown; t != null; t = t.getCause()) {
      if (t instanceof SparkThrowable spark && spark.getSqlState() != null) return spark.getSqlState();
    }
    return null;
  }
}
