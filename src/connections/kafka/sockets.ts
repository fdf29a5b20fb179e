import { connect as connectPlain, isIP } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ISocketFactory } from 'kafkajs';

const KEEP_ALIVE_MS = 30_000;

/** As kafkajs's own, and: small requests are not held back for more, a dead peer is noticed sooner. */
export const openSocket: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  const named = isIP(host) === 0 ? { servername: host } : {};
  const socket =
    // kafkajs declares that there always is one, and gives null for plain text.
    (ssl as typeof ssl | null | undefined) == null
      ? connectPlain({ host, port }, onConnect)
      : connectTls({ host, port, ...named, ...ssl }, onConnect);
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  // kafkajs closes a socket many times over while a broker is away, and Node warns of the listeners.
  socket.setMaxListeners(0);
  return socket;
};
