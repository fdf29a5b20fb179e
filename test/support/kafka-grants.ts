import assert from 'node:assert/strict';
import kafkajs, { type AclEntry, type Admin, type Kafka } from 'kafkajs';
import type { Config } from '../../src/service/config/schema.ts';
import { text } from '../docs/tree.ts';
import { until } from './until.ts';

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

const OPERATIONS: Readonly<Record<string, number>> = {
  Read: AclOperationTypes.READ,
  Write: AclOperationTypes.WRITE,
  Create: AclOperationTypes.CREATE,
  Describe: AclOperationTypes.DESCRIBE,
  DescribeConfigs: AclOperationTypes.DESCRIBE_CONFIGS,
};
const RESOURCES: Readonly<Record<string, number>> = {
  topic: AclResourceTypes.TOPIC,
  group: AclResourceTypes.GROUP,
  'transactional id': AclResourceTypes.TRANSACTIONAL_ID,
};

/** A right on a resource of Kafka, as docs/OPERATIONS.md has it. */
export interface KafkaGrant {
  readonly resource: string;
  readonly isPrefix: boolean;
  readonly name: string;
  readonly operation: string;
}

/** What docs/OPERATIONS.md grants in Kafka for the first table of the configuration. */
export function documentedGrants(config: Config): Readonly<Record<'setup' | 'run', readonly KafkaGrant[]>> {
  const page = text('docs/OPERATIONS.md');
  const rows = [
    ...page.matchAll(/^\| (topic|group|transactional id)(, prefix)? `([^`]+)` +\| ([\w, ]+?) +\|/gm),
  ];
  assert.equal(rows.length, 6, 'the table of grants was not found');
  const run = rows.flatMap(([, resource = '', prefix, name = '', operations = '']) =>
    grantsOf(
      { resource, isPrefix: prefix !== undefined, name: nameHere(name, config) },
      operations.split(', '),
    ),
  );
  const [, ofSetup = ''] = /^For the principal of `setup`: ([\w, ]+) on the same topics\./m.exec(page) ?? [];
  const topics = new Set(run.filter(({ resource }) => resource === 'topic').map(({ name }) => name));
  const setup = [...topics].flatMap((name) =>
    grantsOf({ resource: 'topic', isPrefix: false, name }, ofSetup.split(/, | and /)),
  );
  return { setup, run };
}

function grantsOf(on: Omit<KafkaGrant, 'operation'>, operations: readonly string[]): readonly KafkaGrant[] {
  return operations.map((operation) => ({ ...on, operation }));
}

/** The document's names are those of the default configuration. */
function nameHere(name: string, { tables: [table], topics }: Config): string {
  return name
    .replace(/^employees_changes/, table!.topic)
    .replace(/^employees_backfill$/, table!.backfillTopic)
    .replace(/^deltaferry\.positions/, topics.positions);
}

/** By whoever may grant. */
export async function grant(kafka: Kafka, user: string, grants: readonly KafkaGrant[]): Promise<void> {
  const acl = grants.map((each) => aclOf(user, each));
  await changing(kafka, user, acl.length, (admin) => admin.createAcls({ acl }));
}

export async function revoke(kafka: Kafka, user: string, grants: readonly KafkaGrant[]): Promise<void> {
  const filters = grants.map((each) => aclOf(user, each));
  await changing(kafka, user, -filters.length, (admin) => admin.deleteAcls({ filters }));
}

/** The broker hears a moment later of what the controller has done. */
async function changing(
  kafka: Kafka,
  user: string,
  more: number,
  work: (admin: Admin) => Promise<unknown>,
): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const wanted = (await countOf(admin, user)) + more;
    await work(admin);
    await until('the broker to know of it', async () => (await countOf(admin, user)) === wanted);
  } finally {
    await admin.disconnect();
  }
}

async function countOf(admin: Admin, user: string): Promise<number> {
  const { resources } = await admin.describeAcls({
    resourceType: AclResourceTypes.ANY,
    resourcePatternType: ResourcePatternTypes.ANY,
    operation: AclOperationTypes.ANY,
    permissionType: AclPermissionTypes.ANY,
    principal: `User:${user}`,
  });
  return resources.reduce((count, { acls }) => count + acls.length, 0);
}

function aclOf(user: string, { resource, isPrefix, name, operation }: KafkaGrant): AclEntry {
  const [resourceType, right] = [RESOURCES[resource], OPERATIONS[operation]];
  assert.ok(resourceType !== undefined && right !== undefined, `${operation} on ${resource} ${name}`);
  return {
    principal: `User:${user}`,
    host: '*',
    permissionType: AclPermissionTypes.ALLOW,
    resourceType,
    resourceName: name,
    resourcePatternType: isPrefix ? ResourcePatternTypes.PREFIXED : ResourcePatternTypes.LITERAL,
    operation: right,
  };
}
