import { deltaSourceContract } from './delta-source-contract.ts';
import { employee, employees } from './employees.ts';
import { FakeDelta } from './fake-delta.ts';

deltaSourceContract('in memory', async () => {
  const table = new FakeDelta(employees);
  return {
    source: table.source(),
    insert: async (rows) => table.insert(...rows.map(([id, name]) => employee(id, name))),
    rename: async (id, name) => table.update((row) => (row[0] === id ? employee(id, name) : null)),
    remove: async (id) => table.delete((row) => row[0] === id),
    mergeMarked: async (id, name, mark) => table.merge({ upserts: [employee(id, name)], mark }),
    overwriteWithItself: async () => table.overwrite(table.rows),
    restore: async (version) => table.restore(version),
  };
});
