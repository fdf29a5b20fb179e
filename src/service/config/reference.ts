import { envNameOf, type LeafNode, type MapNode, type Node } from './fields.ts';
import { configTree } from './schema.ts';

/** docs/CONFIGURATION.md, from the schema. */
export function configReference(): string {
  const parts = [...configTree.fields].flatMap(([name, node]) => sectionText(name, node));
  return `${[INTRODUCTION, ...parts].join('\n\n')}\n`;
}

const INTRODUCTION = `<!-- Written by \`deltaferry config reference > docs/CONFIGURATION.md\` from the schemas in src/service/config: edit those. -->

# Configuration

Commands read \`deltaferry.yaml\` in the current folder, or the file that \`--config\` names.

- **Local stack.** Without \`--config\`, a connection (\`kafka\`, \`registry\`, \`postgres\`, \`databricks\`) that names no
  server is the one of the running local stack (\`deltaferry stack up\`). A file named by \`--config\` must be complete,
  unless \`--stack DIR\` says which stack stands in. Without any file, the tables are those of the
  \`deltaferry.yaml\` that comes with the package.
- **Order.** Flags stand above environment variables, these above the file, the file above the local stack, and that
  above the defaults.
- **Variables in the file.** \`\${NAME}\` is replaced by the environment variable, which must be set;
  \`\${NAME:-default}\` uses the default where it is unset or empty; \`$\${\` stands for \`\${\` itself. Inside \`{ }\` and \`[ ]\`
  such text needs quotes. In the user and the password of \`postgres.url\` the value is percent-encoded, so that it may
  hold any characters; what is written there without a variable has to be encoded already.
- **Secrets** may be given as \`{file: path}\`: the content of that file without its last newline. They are never
  shown: \`deltaferry config show\` prints \`***\`.
- **Paths** are relative to the file that they are written in; in variables and flags, to the current folder.
- **Environment.** Each field outside of \`tables\` has a variable of its own, listed below; an empty one counts as
  unset. A secret can also be read from the file named by that variable with \`_FILE\` at its end. Lists are separated
  by commas.
- **Flags.** \`--set path=value\` sets one field, in \`tables\` too: \`--set tables.employees.partitions=12\`.
- **Checking.** \`deltaferry config check\` lists every problem, with its path and line. Unknown fields are problems.`;

function sectionText(name: string, node: Node): string[] {
  const map = mapOf(node);
  const heading = `## ${name}\n\n${node.note.description}`;
  const rows =
    map === undefined ? [] : rowsOf(map, node.kind === 'list' ? `${name}[]` : name, node.kind !== 'list');
  return [heading, ...rows];
}

/** A section is a map, or a list of maps. */
function mapOf(node: Node): MapNode | undefined {
  if (node.kind === 'map') return node;
  return node.kind === 'list' && node.item.kind === 'map' ? node.item : undefined;
}

/** One table of the map's own fields, then one per map inside. */
function rowsOf(map: MapNode, path: string, hasEnv: boolean): string[] {
  const own: string[][] = [];
  const inner: string[] = [];
  for (const [field, node] of map.fields) {
    const nested = mapOf(node);
    if (nested === undefined) own.push(row(field, node, `${path}.${field}`, hasEnv));
    else {
      const below = `${path}.${field}${node.kind === 'list' ? '[]' : ''}`;
      const optional = node.required ? '' : ' Optional.';
      inner.push(`### ${below}\n\n${node.note.description}${optional}`, ...rowsOf(nested, below, hasEnv));
    }
  }
  const head = ['field', 'what', 'type', 'default', ...(hasEnv ? ['environment'] : [])];
  return own.length === 0 ? inner : [grid([head, ...own]), ...inner];
}

function row(field: string, node: Node, path: string, hasEnv: boolean): string[] {
  const example = node.note.example === undefined ? '' : ` Example: \`${node.note.example}\`.`;
  const cells = [`\`${field}\``, `${node.note.description}${example}`, typeText(node), defaultText(node)];
  return hasEnv ? [...cells, `\`${envNameOf(path.split('.'))}\``] : cells;
}

/** A Markdown table with aligned columns, as the formatter leaves it. */
function grid(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  const line = (cells: readonly string[], fill: string) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!, fill)).join(' | ')} |`;
  const rule = line(
    widths.map(() => ''),
    '-',
  );
  return [line(rows[0]!, ' '), rule, ...rows.slice(1).map((cells) => line(cells, ' '))].join('\n');
}

function typeText(node: Node): string {
  if (node.note.secret !== undefined) return 'secret';
  if (node.note.file === true || node.note.folder === true) return 'path';
  if (node.kind === 'list') return 'text or list of texts';
  if (node.kind === 'choice') return node.choices.map((choice) => `\`${choice}\``).join(', ');
  return node.kind === 'boolean' ? '`true`, `false`' : node.kind;
}

function defaultText(node: Node): string {
  if (node.note.defaultText !== undefined) return node.note.defaultText;
  if (node.required) return '**required**';
  const { defaultValue } = node as LeafNode;
  return defaultValue === undefined ? '' : `\`${defaultValue}\``;
}
