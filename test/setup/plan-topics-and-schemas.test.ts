import { describe, it } from 'node:test';
import { changeSchema } from '../../src/change/avro.ts';
import { planSetup } from '../../src/setup/plan.ts';
import type { SubjectFacts } from '../../src/setup/plan-subject.ts';
import type { TopicFacts } from '../../src/setup/ports.ts';
import { employees, everything, mapping, request } from './existing-things.ts';
import { expectTexts } from './step-texts.ts';

describe('existing topics', () => {
  const cases: readonly {
    name: string;
    topic: string;
    found: TopicFacts;
    expected: readonly (string | RegExp)[];
  }[] = [
    {
      name: 'another number of partitions would move keys',
      topic: 'employees_changes',
      found: { partitions: 12, config: { 'cleanup.policy': 'delete', 'retention.ms': '604800000' } },
      expected: [/^mismatch .*: has 12 partitions, 8 partitions wanted. Set `partitions: 12`/],
    },
    {
      name: 'compaction would lose the versions between',
      topic: 'employees_changes',
      found: { partitions: 8, config: { 'cleanup.policy': 'compact,delete', 'retention.ms': '604800000' } },
      expected: [
        /^mismatch .*: cleanup.policy is compact,delete, it must be delete: compaction drops the versions/,
      ],
    },
    {
      name: 'positions that expire would be read as no position',
      topic: 'deltaferry.positions',
      found: { partitions: 1, config: { 'cleanup.policy': 'delete' } },
      expected: [/^mismatch .*: cleanup.policy is delete, it must be compact: positions that expire/],
    },
    {
      name: 'a shorter retention is allowed, and said',
      topic: 'employees_changes',
      found: { partitions: 8, config: { 'cleanup.policy': 'delete', 'retention.ms': '86400000' } },
      expected: [/^ok /, /^warning .*: keeps records for 1 day, 7 days wanted/],
    },
    {
      name: 'a longer or unlimited retention is fine',
      topic: 'employees_changes',
      found: { partitions: 8, config: { 'cleanup.policy': 'delete', 'retention.ms': '-1' } },
      expected: ['ok topic employees_changes: 8 partitions, delete'],
    },
    {
      name: 'a limit by size is said too',
      topic: 'employees_changes',
      found: {
        partitions: 8,
        config: { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'retention.bytes': '1000' },
      },
      expected: [/^ok /, /^warning .*: keeps at most 1000 bytes of each partition \(retention.bytes\)/],
    },
    {
      name: 'rows of a load must not expire',
      topic: 'employees_backfill',
      found: { partitions: 8, config: { 'cleanup.policy': 'delete' } },
      expected: [/^mismatch .*: cleanup.policy is delete, it must be compact: rows of a load that expire/],
    },
    {
      name: 'a load has its keys in the partitions that changes have them in',
      topic: 'employees_backfill',
      found: { partitions: 4, config: { 'cleanup.policy': 'compact' } },
      expected: [/^mismatch .*: has 4 partitions, 8 partitions wanted/],
    },
    {
      name: 'a smaller limit of a record is said, with the command',
      topic: 'employees_changes',
      found: {
        partitions: 8,
        config: { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'max.message.bytes': '1048588' },
      },
      expected: [
        /^ok /,
        /^warning .*: takes records of up to 1048588 bytes .*8000000 wanted.*Run kafka-configs --bootstrap-server <broker> --alter --topic employees_changes --add-config max.message.bytes=8000000/,
      ],
    },
    {
      name: 'dead letters need room for what became of the record',
      topic: 'employees_changes.dead-letters',
      found: {
        partitions: 1,
        config: { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'max.message.bytes': '8000000' },
      },
      expected: [/^ok /, /^warning .*8262144 wanted/],
    },
    {
      name: 'a larger limit is fine',
      topic: 'employees_changes',
      found: {
        partitions: 8,
        config: { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'max.message.bytes': '20971520' },
      },
      expected: ['ok topic employees_changes: 8 partitions, delete'],
    },
    {
      name: 'dead letters may have any number of partitions',
      topic: 'employees_changes.dead-letters',
      found: { partitions: 8, config: { 'cleanup.policy': 'delete', 'retention.ms': '-1' } },
      expected: ['ok topic employees_changes.dead-letters: 8 partitions, delete'],
    },
  ];
  for (const { name, topic, found, expected } of cases)
    it(name, () => {
      const plan = planSetup(request, {
        ...everything,
        topics: new Map([...everything.topics, [topic, found]]),
      });
      expectTexts(
        plan.filter(({ what }) => what === `topic ${topic}`),
        expected,
      );
    });
});

describe('existing schemas', () => {
  const wanted = changeSchema(employees);
  const level = 'FULL_TRANSITIVE';
  const registered = (schema: object) => ({ id: 7, version: 3, schema });
  const cases: readonly { name: string; found: SubjectFacts; expected: readonly (string | RegExp)[] }[] = [
    {
      name: 'the schema of the mapping under the right level is all there is to it',
      found: { level, latest: registered(wanted), refusal: null },
      expected: [/^ok schema employees_changes-value: version 3, id 7, FULL_TRANSITIVE$/],
    },
    {
      name: 'the level is set where a registry with default NONE would take anything',
      found: { level: null, latest: registered(wanted), refusal: null },
      expected: [/^create compatibility .*: set FULL_TRANSITIVE, it is not set$/, /^ok /],
    },
    {
      name: 'a column more is the next version',
      found: {
        level,
        latest: registered(changeSchema(mapping({ emp_id: 'bigint', name: 'text' }))),
        refusal: null,
      },
      expected: [/^create schema .*: register a version after 3: the mapping has changed$/],
    },
    {
      name: 'what the registry refuses is told in its words',
      found: {
        level,
        latest: registered(changeSchema(mapping({ emp_id: 'text' }))),
        refusal: 'READER_TYPE_MISMATCH at /fields/1',
      },
      expected: [
        /^mismatch schema .*version 3 is not the schema of the mapping.*the registry refuses it: READER_TYPE_MISMATCH at .fields.1; field Row.emp_id was string and would be long/,
      ],
    },
    {
      name: 'another scale is refused, though to the registry both are bytes',
      found: {
        level,
        latest: registered(
          changeSchema(mapping({ emp_id: 'bigint', name: 'text', salary: 'numeric(12,4)' })),
        ),
        refusal: null,
      },
      expected: [/^mismatch .*field Row.salary was decimal\(12,4\) and would be decimal\(12,2\)/],
    },
    {
      name: 'another unit is refused, though to the registry both are longs',
      found: {
        level,
        latest: registered(
          changeSchema(mapping({ emp_id: 'timestamptz', name: 'text', salary: 'numeric(12,2)' })),
        ),
        refusal: null,
      },
      expected: [/^mismatch .*field Row.emp_id was timestamp-micros and would be long/],
    },
    {
      name: 'more digits before the point are the next version',
      found: {
        level,
        latest: registered(
          changeSchema(mapping({ emp_id: 'bigint', name: 'text', salary: 'numeric(10,2)' })),
        ),
        refusal: null,
      },
      expected: [/^create schema .*: register a version after 3/],
    },
    {
      name: 'under another level the registry cannot tell whether the next version fits',
      found: {
        level: 'BACKWARD',
        latest: registered(changeSchema(mapping({ emp_id: 'bigint' }))),
        refusal: null,
      },
      expected: [
        /^mismatch .*the registry cannot tell: the subject's compatibility is BACKWARD. Set it to FULL_TRANSITIVE/,
      ],
    },
  ];
  for (const { name, found, expected } of cases)
    it(name, () => {
      const plan = planSetup(request, {
        ...everything,
        subjects: new Map([['employees_changes-value', found]]),
      });
      expectTexts(
        plan.filter(({ what }) => what.endsWith('employees_changes-value')),
        expected,
      );
    });
});
