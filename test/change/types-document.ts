export function typesDocument(): string {
  return '';
}
