import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bell } from '../../src/flow/bell.ts';

test('wakes everybody who waits', async () => {
  const bell = new Bell();
  const all = [bell.rung(bell.rings), bell.rung(bell.rings, 1e12)];
  bell.ring();
  await Promise.all(all);
});

test('a ring between the look and the wait is not missed', async () => {
  const bell = new Bell();
  const { rings } = bell;
  bell.ring();
  await bell.rung(rings);
  assert.equal(bell.rings, rings + 1);
});

test('a wait has its time', async () => {
  await new Bell().rung(0, 1);
});
