/** The start time of a live process as an opaque text; undefined when there is none, or only a zombie. */
export function processStart(pid: number): string | undefined;
