import { employee, employees } from './employees.ts';
import { FakePostgresLog } from './fake-postgres-log.ts';
import { postgresLogContract } from './postgres-log-contract.ts';

postgresLogContract('fake', async () => {
  const log = new FakePostgresLog(employees);
  return {
    source(pageChanges) {
      log.pageChanges = pageChanges;
      return log.source();
    },
    async begin() {
      const { set, commit, rollback } = log.begin();
      return {
        set: async (key, name) => set(key, name === null ? null : employee(key, name)),
        commit: async () => commit(),
        rollback: async () => rollback(),
      };
    },
  };
});
