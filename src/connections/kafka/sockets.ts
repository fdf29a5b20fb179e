import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ISocketFactory } from 'kafkajs';

const KEEP_ALIVE_MS = 30_000;

// The first bytes of a TLS alert; those of an answer are its length, which is never 0x1503....
const ALERT = 0x15;
const TLS_MAJOR = 0x03;

/** The code of the error where a broker speaks TLS and we do not. */
export const TLS_NEEDED_CODE = 'ERR_TLS_NEEDED';

/**
 * As kafkajs's own, and: small requests are not held back for more, a dead peer is noticed sooner, and
 * so is one that speaks TLS.
 */
export const openSocket: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  const named = isIP(host) === 0 ? { servername: host } : {};
  const socket =
    // kafkajs declares that there always is one, and gives null for plain text.
    (ssl as typeof ssl | null | undefined) == null
      ? minding(connectPlain({ host, port }, onConnect), `${host}:${port}`)
      : connectTls({ host, port, ...named, ...ssl }, onConnect);
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  // kafkajs closes a socket many times over while a broker is away, and Node warns of the listeners.
  socket.setMaxListeners(0);
  return socket;
};

/** A broker answers plain text where it speaks TLS by an alert, which kafkajs takes for the length of an answer. */
function minding(socket: Socket, broker: string): Socket {
  return socket.once('data', (first: Buffer) => {
    if (first[0] === ALERT && first[1] === TLS_MAJOR)
      socket.destroy(Object.assign(new Error(`the broker ${broker} speaks TLS`), { code: TLS_NEEDED_CODE }));
  });
}
