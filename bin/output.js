/** The last lines of a failed command, without colours and empty lines. */
export function tail(text, lines = 20) {
  return (
    text
      // eslint-disable-next-line no-control-regex
      .replaceAll(/\u001B\[[0-9;]*m/g, '')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .slice(-lines)
      .join('\n')
  );
}
