import {
  BugError,
  DeltaferryError,
  FencedError,
  OperatorError,
  TransientError,
  type ErrorDetails,
} from '../../errors.ts';
import { TLS_NEEDED_CODE } from './sockets.ts';

/** What was being done, to name it in the error. */
export interface KafkaWhere {
  /** A phrase that follows "while", such as "publishing changes". */
  readonly doing: string;
  readonly topic?: string;
  /** What it takes of topics, with their names, where `topic` does not say it. */
  readonly topicGrant?: string;
  readonly group?: string;
  readonly transactionalId?: string;
}

/** The code where a record is larger than its topic takes (too-large.ts says more of it). */
export const TOO_LARGE = 'KAFKA_RECORD_TOO_LARGE';

type Verdict = (details: ErrorDetails) => DeltaferryError;

const operator: Verdict = (details) => new OperatorError(details);
const fenced: Verdict = (details) => new FencedError(details);
const transient: Verdict = (details) => new TransientError(details);

interface Rule {
  readonly code: string;
  readonly verdict: Verdict;
  readonly remedy?: (where: KafkaWhere) => string;
}

const MISSING: Rule = {
  code: 'KAFKA_TOPIC_MISSING',
  verdict: operator,
  remedy: ({ topic }) =>
    `Create ${topic === undefined ? 'the topic' : `the topic ${topic}`} with \`deltaferry setup\`.`,
};
const RECORD_TOO_LARGE: Rule = {
  code: TOO_LARGE,
  verdict: operator,
  remedy: ({ topic }) =>
    `Raise max.message.bytes of ${topic === undefined ? 'the topic' : `the topic ${topic}`} above the largest change.`,
};
const AUTHENTICATION: Rule = {
  code: 'KAFKA_AUTHENTICATION',
  verdict: operator,
  remedy: () => 'Check kafka.sasl (mechanism, username, password) in the configuration.',
};
const NO_LOGIN: Rule = {
  code: 'KAFKA_AUTHENTICATION',
  verdict: operator,
  remedy: () =>
    'Leave out kafka.sasl, or name the brokers of a listener that takes logins: this one takes none.',
};
const TLS: Rule = {
  code: 'KAFKA_TLS',
  verdict: operator,
  remedy: () =>
    'Check kafka.tls (caFile, certFile, keyFile) in the configuration and the name in the broker certificate.',
};
const TLS_NEEDED: Rule = {
  code: 'KAFKA_TLS',
  verdict: operator,
  remedy: () => 'Set kafka.tls.enabled (and caFile for an authority of your own): these brokers speak TLS.',
};
// Another replica may lead in its place, so it is tried again; alone, a broker ends itself then.
const STORAGE: Rule = {
  code: 'KAFKA_STORAGE',
  verdict: transient,
  remedy: () => 'Look at the disks of the brokers: one is full or broken. It is tried again by itself.',
};
// What a broker does with whom it does not understand, and what it does when it is stopped.
const CLOSED: Rule = {
  code: 'KAFKA_UNAVAILABLE',
  verdict: transient,
  remedy: () =>
    'If it stays so: the brokers may want a login (kafka.sasl), or speak TLS or not otherwise than configured (kafka.tls).',
};
const FENCED: Rule = { code: 'KAFKA_FENCED', verdict: fenced };
const UNSUPPORTED: Rule = {
  code: 'KAFKA_UNSUPPORTED',
  verdict: operator,
  remedy: () => 'Use Kafka 3.x or 4.x brokers.',
};
const GROUP_IN_USE: Rule = {
  code: 'KAFKA_GROUP_IN_USE',
  verdict: operator,
  remedy: ({ group }) =>
    `Find what else uses the consumer group ${group ?? ''}: its members speak another protocol.`,
};
const SESSION_TIMEOUT: Rule = {
  code: 'KAFKA_SESSION_TIMEOUT',
  verdict: operator,
  remedy: () =>
    'Choose a session timeout between group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers.',
};
const TRANSACTION_TIMEOUT: Rule = {
  code: 'KAFKA_TRANSACTION_TIMEOUT',
  verdict: operator,
  remedy: () => 'Lower the transaction timeout or raise transaction.max.timeout.ms of the brokers.',
};
const REFUSED: Rule = {
  code: 'KAFKA_REFUSED',
  verdict: operator,
  remedy: () => "Adapt the topic's settings to what the brokers allow, then run `deltaferry setup` again.",
};

const denied = (what: (where: KafkaWhere) => string): Rule => ({
  code: 'KAFKA_DENIED',
  verdict: operator,
  remedy: (where) => `Grant the service's principal ${what(where)}.`,
});

/** Kafka's protocol errors that want more than waiting. Every other one is transient. */
const RULES: Readonly<Record<string, Rule>> = {
  PRODUCER_FENCED: FENCED,
  INVALID_PRODUCER_EPOCH: FENCED,
  INVALID_TXN_STATE: FENCED,
  UNKNOWN_TOPIC_OR_PARTITION: MISSING,
  INVALID_TOPIC_EXCEPTION: MISSING,
  MESSAGE_TOO_LARGE: RECORD_TOO_LARGE,
  RECORD_LIST_TOO_LARGE: RECORD_TOO_LARGE,
  SASL_AUTHENTICATION_FAILED: AUTHENTICATION,
  UNSUPPORTED_SASL_MECHANISM: AUTHENTICATION,
  TOPIC_AUTHORIZATION_FAILED: denied(
    ({ topic, topicGrant }) => topicGrant ?? `access to the topic ${topic ?? ''}`,
  ),
  GROUP_AUTHORIZATION_FAILED: denied(({ group }) => `access to the consumer group ${group ?? ''}`),
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: denied(
    ({ transactionalId }) => `access to the transactional id ${transactionalId ?? ''}`,
  ),
  CLUSTER_AUTHORIZATION_FAILED: denied(() => 'access to the cluster (IdempotentWrite, Create, Describe)'),
  SECURITY_DISABLED: NO_LOGIN,
  ILLEGAL_SASL_STATE: NO_LOGIN,
  UNSUPPORTED_VERSION: UNSUPPORTED,
  UNSUPPORTED_FOR_MESSAGE_FORMAT: UNSUPPORTED,
  INCONSISTENT_GROUP_PROTOCOL: GROUP_IN_USE,
  INVALID_GROUP_ID: GROUP_IN_USE,
  INVALID_SESSION_TIMEOUT: SESSION_TIMEOUT,
  INVALID_TRANSACTION_TIMEOUT: TRANSACTION_TIMEOUT,
  KAFKA_STORAGE_ERROR: STORAGE,
  INVALID_PARTITIONS: REFUSED,
  INVALID_REPLICATION_FACTOR: REFUSED,
  INVALID_CONFIG: REFUSED,
  POLICY_VIOLATION: REFUSED,
};

// A plain Error of kafkajs: it was about to ask a broker from which it had been cut off.
const CUT_OFF = 'Broker not connected';
// PRODUCER_FENCED is newer than kafkajs, which has no name for it.
const PRODUCER_FENCED = 'Unknown error code 90';

const BEFORE_TLS = /disconnected before secure TLS/;
const TLS_FAILURE =
  /certificate|self[- ]signed|wrong version number|ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_VERIFY|DEPTH_ZERO/i;

interface KafkaJsError extends Error {
  readonly type?: string;
  readonly code?: string | number;
}

/**
 * What a failure of kafkajs means: fenced, for a person to mend, or (the rule) to be tried again.
 * Our own errors pass unchanged; what is not kafkajs's is a bug.
 */
export function translateKafka(error: unknown, where: KafkaWhere): DeltaferryError {
  if (error instanceof DeltaferryError) return error;
  const chain = causes(error);
  const rule = chain.map(ruleOf).find((found) => found !== undefined);
  const about = describe(where);
  const reason = chain.find((each) => each.message !== '')?.message ?? String(error);
  if (rule !== undefined) {
    const remedy = rule.remedy?.(where);
    return rule.verdict({
      code: rule.code,
      message: `Kafka, while ${about}: ${reason}`,
      cause: error,
      ...(remedy === undefined ? {} : { remedy }),
    });
  }
  if (
    chain.some((each) => each.name.startsWith('KafkaJS') || each.message === CUT_OFF || isSystemError(each))
  )
    return new TransientError({
      code: 'KAFKA_UNAVAILABLE',
      message: `Kafka, while ${about}: ${reason}`,
      cause: error,
    });
  return new BugError({
    code: 'KAFKA_UNEXPECTED',
    message: `Unexpected, while ${about}: ${reason}`,
    cause: error,
  });
}

/** The protocol error's name (`NOT_LEADER_FOR_PARTITION`, …) somewhere in the chain of causes. */
export function protocolErrorOf(error: unknown): string | undefined {
  return causes(error).find((each) => each.type !== undefined)?.type;
}

function ruleOf(error: KafkaJsError): Rule | undefined {
  // The prototype's own names must not match.
  if (error.type !== undefined && Object.hasOwn(RULES, error.type)) return RULES[error.type];
  if (error.message === PRODUCER_FENCED) return FENCED;
  if (error.name === 'KafkaJSSASLAuthenticationError') return AUTHENTICATION;
  if (error.name === 'KafkaJSServerDoesNotSupportApiKey' || error.name === 'KafkaJSNotImplemented')
    return UNSUPPORTED;
  if (error.code === TLS_NEEDED_CODE) return TLS_NEEDED;
  if (error.name === 'KafkaJSConnectionClosedError' || BEFORE_TLS.test(error.message)) return CLOSED;
  if (error.name === 'KafkaJSConnectionError' && TLS_FAILURE.test(`${error.code ?? ''} ${error.message}`))
    return TLS;
  return undefined;
}

function isSystemError(error: KafkaJsError): boolean {
  return typeof error.code === 'string' && /^E[A-Z]+$/.test(error.code);
}

function causes(error: unknown): KafkaJsError[] {
  const chain: KafkaJsError[] = [];
  for (let at = error; at instanceof Error && chain.length < 8 && !chain.includes(at); at = at.cause)
    chain.push(at);
  return chain;
}

function describe({ doing, topic, group, transactionalId }: KafkaWhere): string {
  const names = [
    topic === undefined ? '' : `topic ${topic}`,
    group === undefined ? '' : `group ${group}`,
    transactionalId === undefined ? '' : `transactional id ${transactionalId}`,
  ].filter((name) => name !== '');
  return names.length === 0 ? doing : `${doing} (${names.join(', ')})`;
}
