// How Node is started.

/** kafkajs asks for a timer in the past at every connection (its issue 1751): harmless, and not for the user to see. */
export const quietFlags = ['--disable-warning=TimeoutNegativeWarning'];

/**
 * What the service itself may keep is bounded; without a limit Node would put off collecting garbage until
 * a tenth of the machine's memory is full. NODE_OPTIONS with another limit wins.
 */
const heapFlags = /max-old-space-size/.test(process.env.NODE_OPTIONS ?? '')
  ? []
  : ['--max-old-space-size=256', '--max-semi-space-size=32'];

/** Authorities that an administrator has added to the system are trusted, as by every other program there. */
export const serviceFlags = [...quietFlags, '--use-system-ca', ...heapFlags];

/**
 * Buffers of a megabyte and more go back to the system when they are collected: by itself glibc comes to keep
 * what rows of that size leave behind, hundreds of megabytes. Other systems do not look at it.
 */
const ours = { MALLOC_MMAP_THRESHOLD_: '1048576' };
export const serviceEnv = { ...ours, ...process.env };

/**
 * The environment for what is not Node: with what is set above, glibc would give Java's memory back and ask for it anew all
 * the time, which takes a quarter of the warehouse's time. What the user has set stays.
 */
export function engineEnv() {
  return Object.fromEntries(Object.entries(process.env).filter(([name, value]) => ours[name] !== value));
}
