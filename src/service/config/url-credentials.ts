/**
 * User and password in a URL. Characters such as @ : / ? # mean something else there, and a password that
 * holds one may still look like a URL: part of it then counts as the host.
 */

/** Percent-encodes what is put into the user or the password of a URL with placeholders; the rest stays as it is. */
export function encodeIn(template: string, placeholder: RegExp): (value: string, offset: number) => string {
  // A placeholder's own text, `${PORT:-@}` say, is no part of the URL.
  const written = template.replaceAll(placeholder, (text) => '_'.repeat(text.length));
  const [, scheme, credentials] = /^([a-z]+:\/\/)([^/?#]*)@/i.exec(written) ?? [];
  if (scheme === undefined || credentials === undefined) return (value) => value;
  const end = scheme.length + credentials.length;
  return (value, offset) => {
    if (offset < scheme.length || offset >= end) return value;
    // Alone before the @ it may be both, as `user:password`.
    const parts = credentials.includes(':') ? [value] : value.split(':');
    return parts.map((part) => encodeURIComponent(part.toWellFormed())).join(':');
  };
}

/** Whether an @ comes later than before the host: the end of a password, most probably. */
export function hasStrayAt(url: string): boolean {
  return /^[^/?#]*\/\/[^/?#]*[/?#][^@]*@/.test(url);
}

/** The URL without anything between its // and its last @. */
export function withoutCredentials(url: string, instead: string): string {
  return url.replace(/\/\/.*@/s, `//${instead}@`);
}

/** The password as it is written; undefined where there is none. */
export function writtenPassword(url: string): string | undefined {
  return /\/\/[^:@]*:(.*)@/s.exec(url)?.[1];
}
