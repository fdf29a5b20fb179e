import { loadConfig } from '../src/service/config/load.ts';
for (const [yaml, env, overrides] of [
 ['', {}, {}],
 ['kafka: {broker: [a:1]}\nbrokers: 3\nregistry: {url: ftp://x}\ntables:\n  - name: e\n    key: [emp_di]\n    columns: {emp_id: bigint, salary: nummeric(1,2), salary2: 3}\n    postgres: {hisotry: scd2}\nhttp: {port: "${P}"}\nlog: {level: inf}\npostgres: {url: "${NOPE}", tls: {caFile: nix.pem}}\ndatabricks: 3', {P:'abc', DELTAFERRY_KAFKA_BROKER:'x'}, {'http.prt': 3, 'polling.minMs': '900'}],
]) {
 const {mkdtempSync,writeFileSync}=await import('node:fs');
 const d=mkdtempSync('/tmp/cfg-'); writeFileSync(d+'/deltaferry.yaml', yaml as string);
 try { console.log(JSON.stringify(await loadConfig({cwd:d, env: env as any, overrides: overrides as any}),null,1)); } catch(e:any) { console.log(e.message, '\n→', e.remedy, e.code); if(!e.remedy) console.log(e.stack) }
}
import {configReference} from '../src/service/config/reference.ts';
console.log(configReference());
