import type { Databricks } from '../connections/databricks/client.ts';
import type { Config } from '../service/config/schema.ts';
import type { LiveService } from './live-service.ts';
import type { DemoReport } from './report.ts';

/** What showing either direction needs. */
export interface DirectionDemo {
  readonly warehouse: Databricks;
  readonly config: Config;
  readonly live: LiveService;
  readonly report: DemoReport;
  readonly signal: AbortSignal;
  /** For tests: called once everything is applied, before the comparison. */
  readonly beforeVerify?: ((config: Config) => Promise<void>) | undefined;
}
