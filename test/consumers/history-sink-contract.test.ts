import { describe } from 'node:test';
import { fakeHistory, UNSTORABLE } from './fakes.ts';
import { historySinkContract } from './history-sink-contract.ts';

// The properties of the loop are worth as much as the fake is true.
describe('the fake history keeps the contract', () => {
  historySinkContract(async () => {
    const sink = fakeHistory();
    const stored = async (): Promise<number> => [...sink.applied.values()].flat().length;
    return { sink, stored, unstorable: UNSTORABLE };
  });
});
