import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pomVersion, packageJson, text } from './tree.ts';

/** Rows of the table under a heading: [first cell without backticks, second cell, third cell]. */
function tableUnder(heading: string): readonly (readonly [string, string, string])[] {
  const section =
    text('docs/DEPENDENCIES.md')
      .split(/^## /m)
      .find((part) => part.startsWith(`${heading}\n`)) ?? '';
  return section
    .split('\n')
    .filter(
      (line) =>
        line.startsWith('| ') &&
        !line.startsWith('| package') &&
        !line.startsWith('| engine') &&
        !line.startsWith('| -'),
    )
    .map((line) => {
      const [, name = '', version = '', why = ''] = line.split('|').map((cell) => cell.trim());
      return [name.replaceAll('`', ''), version, why];
    });
}

describe('docs/DEPENDENCIES.md', () => {
  const sections = [
    ['The service needs', packageJson.dependencies],
    ['To build and test it', packageJson.devDependencies],
    ['Optional, for a checkout', packageJson.optionalDependencies],
    ['Override', packageJson.overrides],
  ] as const;
  for (const [heading, declared] of sections)
    it(`names every package of package.json with its version and reason: ${heading}`, () => {
      const rows = tableUnder(heading);
      assert.deepEqual(Object.fromEntries(rows.map(([name, version]) => [name, version])), declared);
      for (const [name, , why] of rows) assert.ok(why.length > 10, `${name} has no reason`);
    });

  it('holds every package to one exact version', () => {
    for (const [heading] of sections)
      for (const [name, version] of tableUnder(heading))
        assert.match(version, /^\d+\.\d+\.\d+(-[\w.]+)?$/, name);
  });

  it('names the engines with the versions of their poms', () => {
    const engines = Object.fromEntries(
      tableUnder('Engines of the local stack').map(([name, version]) => [name, version]),
    );
    assert.deepEqual(engines, {
      Kafka: pomVersion('stack/kafka/pom.xml', 'kafka_2.13'),
      'log4j-slf4j-impl': pomVersion('stack/kafka/pom.xml', 'log4j-slf4j-impl'),
      'Apicurio Registry': pomVersion('stack/registry/pom.xml', 'apicurio-registry-app'),
      Spark: pomVersion('stack/warehouse/pom.xml', 'spark-sql_2.13'),
      'Delta Lake': pomVersion('stack/warehouse/pom.xml', 'delta-spark_4.1_2.13'),
      'spark-avro': pomVersion('stack/warehouse/pom.xml', 'spark-avro_2.13'),
      Guava: pomVersion('stack/warehouse/pom.xml', 'guava'),
      'Postgres JDBC driver': pomVersion('stack/warehouse/pom.xml', 'postgresql'),
      Java: /<maven.compiler.release>(\d+)</.exec(text('stack/warehouse/pom.xml'))?.[1],
    });
  });
});
