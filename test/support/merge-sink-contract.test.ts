import { describe } from 'node:test';
import { fakeMergeSink } from './fake-merge-sink.ts';
import { mergeSinkContract } from './merge-sink-contract.ts';

const UNSTORABLE = 'unstorable';

// The properties of the loop are worth as much as the fake is true.
describe('the fake merge sink keeps the contract', () => {
  mergeSinkContract(async () => {
    const sink = fakeMergeSink({ unstorable: UNSTORABLE });
    const stored = async () =>
      new Map([...sink.rows.values()].map(([id, name]) => [Number(id), name as string | null]));
    return { sink, other: sink, stored, unstorable: UNSTORABLE, first: 0 };
  });
});
