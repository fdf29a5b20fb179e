export const quietFlags: readonly string[];
export const serviceFlags: readonly string[];
