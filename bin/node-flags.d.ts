export const quietFlags: readonly string[];
export const serviceFlags: readonly string[];
export const serviceEnv: NodeJS.ProcessEnv;
export function engineEnv(): NodeJS.ProcessEnv;
