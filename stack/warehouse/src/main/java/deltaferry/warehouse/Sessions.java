package deltaferry.warehouse;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** All open sessions. A client that died never closes its own, so those long unused are closed for it. */
final class Sessions {
  private final Map<Handle, Session> sessions = new ConcurrentHashMap<>();

  void add(Session session) {
    sessions.put(session.handle, session);
  }

  /** The session of that handle, or null. */
  Session find(Handle handle) {
    Session session = handle == null ? null : sessions.get(handle);
    if (session != null) session.touch();
    return session;
  }

  /** The operation of that handle, or null. */
  Operation findOperation(Handle handle) {
    if (handle == null) return null;
    for (Session session : sessions.values()) {
      Operation operation = session.operation(handle);
      if (operation == null) continue;
      session.touch();
      return operation;
    }
    return null;
  }

  void close(Handle handle) {
    Session session = handle == null ? null : sessions.remove(handle);
    if (session != null) session.close();
  }

  void closeIdle(Duration limit) {
    long since = System.currentTimeMillis() - limit.toMillis();
    for (Session session : List.copyOf(sessions.values())) {
      if (session.idleSince(since)) close(session.handle);
    }
  }

  void closeAll() {
    List.copyOf(sessions.keySet()).forEach(this::close);
  }
}
