import { setTimeout as sleep } from 'node:timers/promises';
import { BugError } from '../errors.ts';

import { readExisting } from './existing.ts';
import { mismatchesOf, planSetup, type Action, type Plan, type Step } from './plan.ts';
import type { SetupPorts } from './ports.ts';
import type { SetupRequest } from './request.ts';

export interface SetupOptions {
  /** Only say what would be done. */
  readonly dryRun?: boolean;
  /** Called after each step that was applied. */
  readonly onApplied?: (step: Step) => void;
  /** How long what was created may take to be seen on every broker, milliseconds; default 5,000. */
  readonly settleMs?: number;
}

const LOOK_AGAIN_MS = 100;

export interface SetupResult {
  /** `mismatch`: something that exists does not fit. */
  readonly outcome: 'done' | 'planned' | 'mismatch';
  /** Whether anything was changed; with a mismatch only if another one got in between. */
  readonly applied: boolean;
  readonly plan: Plan;
}

/**
 * Makes everything exist that the request names; a second call changes nothing, and two at once end
 * as one would. What exists is never altered, but for what captures a table, which is our own. Throws what the connections throw.
 */
export async function setup(
  request: SetupRequest,
  ports: SetupPorts,
  options: SetupOptions = {},
): Promise<SetupResult> {
  const plan = planSetup(request, await readExisting(request, ports));
  if (mismatchesOf(plan).length > 0) return { outcome: 'mismatch', applied: false, plan };
  if (options.dryRun === true) return { outcome: 'planned', applied: false, plan };
  if (!plan.some(({ kind }) => kind === 'create')) return { outcome: 'done', applied: false, plan };

  await applySetup(plan, ports, options.onApplied);

  // Another one may have created something else under the same name between our look and our step.
  const after = await planOnceSettled(request, ports, options.settleMs ?? 5000);
  if (mismatchesOf(after).length > 0) return { outcome: 'mismatch', applied: true, plan: after };
  const missing = after.find(({ kind }) => kind === 'create');
  if (missing !== undefined)
    throw new BugError({
      code: 'SETUP_INCOMPLETE',
      message: `Setup was applied, yet ${missing.what} is still to be done: ${missing.detail}.`,
    });
  return { outcome: 'done', applied: true, plan };
}

/** The plan once nothing is left to create, or after `settleMs`. */
async function planOnceSettled(request: SetupRequest, ports: SetupPorts, settleMs: number): Promise<Plan> {
  const deadline = performance.now() + settleMs;
  for (;;) {
    const plan = planSetup(request, await readExisting(request, ports));
    if (!plan.some(({ kind }) => kind === 'create') || performance.now() >= deadline) return plan;
    await sleep(LOOK_AGAIN_MS);
  }
}

/** Applies the plan's `create` steps in order. A plan with a mismatch is not applied at all. */
export async function applySetup(
  plan: Plan,
  ports: SetupPorts,
  onApplied?: (step: Step) => void,
): Promise<void> {
  const mismatch = mismatchesOf(plan)[0];
  if (mismatch !== undefined)
    throw new BugError({
      code: 'SETUP_MISMATCH',
      message: `A plan with a mismatch was to be applied: ${mismatch.what} ${mismatch.detail}.`,
    });
  for (const step of plan) {
    if (step.kind !== 'create') continue;
    await applyAction(step.action, ports);
    onApplied?.(step);
  }
}

async function applyAction(action: Action, ports: SetupPorts): Promise<void> {
  switch (action.do) {
    case 'migrate':
      await ports.control.migrate();
      return;
    case 'create topic':
      return ports.topics.create([action.topic]);
    case 'set compatibility':
      return ports.subjects.setCompatibility(action.subject, action.level);
    case 'register schema':
      await ports.subjects.register(action.subject, action.schema);
      return;
    case 'create history':
      return ports.histories.create(action.table, action.statements);
    case 'create delta table':
      return ports.deltas.create(action.table, action.statement);
    case 'install capture':
      return ports.captures.install(action.target, action.statements);
    default:
      return action satisfies never;
  }
}
