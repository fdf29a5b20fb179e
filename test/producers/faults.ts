import { TransientError } from '../../src/errors.ts';
import { tick } from './fake-log.ts';

export type Fault =
  | 'none'
  /** The call never reached the other side. */
  | 'before'
  /** It was done, but the answer got lost. */
  | 'after'
  /** It takes a while. */
  | 'slow'
  /** It never answers: the process is as good as dead. */
  | 'hang'
  /** Done, and never answered. */
  | 'after-hang';

/** The same port, where each call first asks what befalls it. Iterables are asked once per page. */
export function withFaults<T extends object>(port: T, next: (method: string) => Fault): T {
  return new Proxy(port, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function' || typeof name !== 'string') return member;
      return (...args: unknown[]): unknown => {
        if (name === 'changes' || name === 'read')
          return pages(member.apply(target, args) as AsyncIterable<unknown>, next);
        return befall(next(name), name, () => member.apply(target, args) as Promise<unknown>);
      };
    },
  });
}

async function* pages(
  source: AsyncIterable<unknown>,
  next: (method: string) => Fault,
): AsyncGenerator<unknown> {
  for await (const page of source) {
    await befall(next('page'), 'page', async () => {});
    yield page;
  }
}

async function befall(fault: Fault, name: string, call: () => Promise<unknown>): Promise<unknown> {
  if (fault === 'hang') return new Promise(() => {});
  if (fault === 'before') throw lost(name, 'before it was done');
  if (fault === 'slow') for (let turns = 0; turns < 5; turns++) await tick();
  const result = await call();
  if (fault === 'after-hang') return new Promise(() => {});
  if (fault === 'after') throw lost(name, 'after it was done');
  return result;
}

function lost(name: string, when: string): TransientError {
  return new TransientError({ code: 'TEST_FAULT', message: `${name} failed ${when}` });
}
