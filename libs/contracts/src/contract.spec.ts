import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import {
  type DescFile,
  type FileRegistry,
  createFileRegistry,
  createRegistry,
  fromBinary,
  fromJsonString,
  getOption,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Delivery,
  file_weir_options_v1_options as optionsFile,
  method as methodOptions,
} from './gen/weir/options/v1/options_pb.js';

const WORKSPACE = join(import.meta.dirname, '../../..');
const PROTO = join(WORKSPACE, 'proto');

const copies: string[] = [];
afterEach(() => {
  for (const copy of copies.splice(0)) rmSync(copy, { recursive: true });
});

/** A copy of the contract's folder with a change in one of its files. */
function changed(file: string, from: string | RegExp, to: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'weir-proto-'));
  copies.push(copy);
  cpSync(PROTO, copy, { recursive: true });
  const path = join(copy, file);
  const before = readFileSync(path, 'utf8');
  const after = before.replace(from, to);
  if (after === before && from !== to) throw new Error(`${file} has no ${String(from)}`);
  writeFileSync(path, after);
  return copy;
}

/** Runs a target's own command in a folder. */
function runTarget(name: 'proto-lint' | 'proto-breaking', folder: string): { status: number | null; output: string } {
  const { nx } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'));
  const { status, stdout, stderr } = spawnSync(String(nx.targets[name].options.command), {
    shell: true,
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, PATH: [join(WORKSPACE, 'node_modules/.bin'), process.env['PATH']].join(delimiter) },
  });
  return { status, output: stdout + stderr };
}

/** Runs `buf build` in a folder and reads its output. */
function contractOf(folder: string): FileRegistry {
  const { status, stdout, stderr } = spawnSync(join(WORKSPACE, 'node_modules/.bin/buf'), ['build', '-o', '-'], {
    cwd: folder,
    maxBuffer: 16 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(stderr.toString());
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, new Uint8Array(stdout)));
}

function baseline(): FileRegistry {
  const text = readFileSync(join(PROTO, 'baseline.json'), 'utf8');
  const registry = createRegistry(optionsFile);
  return createFileRegistry(fromJsonString(FileDescriptorSetSchema, text, { registry, ignoreUnknownFields: true }));
}

/** The methods whose delivery has changed. buf can't find them, because it doesn't know our options. */
function rerouted(before: FileRegistry, after: FileRegistry): string[] {
  const ways = (registry: FileRegistry): Map<string, string> => {
    const services = [...registry.files].flatMap((file: DescFile) => file.services);
    return new Map(
      services
        .flatMap(({ methods }) => methods)
        .map((method) => {
          const { delivery, ownerField } = getOption(method, methodOptions);
          return [`${method.parent.typeName}.${method.name}`, `${Delivery[delivery]} ${ownerField}`.trim()];
        }),
    );
  };
  const now = ways(after);
  return [...ways(before)]
    .filter(([name, way]) => now.has(name) && now.get(name) !== way)
    .map(([name, way]) => `${name}: ${way} -> ${now.get(name)}`);
}

const UNCHANGED = ['weir/v1/media.proto', '', ''] as const;

describe('the check of the contract against its last release', () => {
  it('accepts the contract as it is, and additions to it', () => {
    expect(runTarget('proto-breaking', changed(...UNCHANGED))).toMatchObject({ status: 0 });
    const added = changed(
      'weir/v1/media.proto',
      'message PublishReply {',
      'message PublishReply {\n  string planted = 99;',
    );
    expect(runTarget('proto-breaking', added)).toMatchObject({ status: 0 });
  });

  it.each([
    ['a field with a new type', /(message PublishReply \{\s+)string node_id = 1;/, '$1uint32 node_id = 1;', 'node_id'],
    ['a removed field', /(message PublishReply \{\s+)string node_id = 1;/, '$1', 'deleted'],
    ['a removed method', /rpc Snapshot\([^}]*\}[^}]*\}/, '', 'Snapshot'],
    ['a method with another request', 'rpc Publish(PublishRequest)', 'rpc Publish(PlayRequest)', 'PlayRequest'],
    ['a removed enum value', /\n {2}END_REASON_REPLACED = \d+;/, '', 'deleted'],
  ])('finds %s', (_what, from, to, told) => {
    const { status, output } = runTarget('proto-breaking', changed('weir/v1/media.proto', from, to));
    expect(output).toContain(told);
    expect(status).toBe(100);
  });

  it('finds a method with another delivery', () => {
    expect(rerouted(baseline(), contractOf(PROTO))).toEqual([]);
    const toAny = changed(
      'weir/v1/media.proto',
      /(rpc GetSessionStats[^}]*)DELIVERY_OWNER([^}]*)owner_field: "node_id"/,
      '$1DELIVERY_ANY$2',
    );
    expect(rerouted(baseline(), contractOf(toAny))).toEqual(['weir.v1.Media.GetSessionStats: OWNER node_id -> ANY']);
  });
});

describe('the check of how the contract is written', () => {
  it('accepts the contract as it is', () => {
    expect(runTarget('proto-lint', changed(...UNCHANGED))).toMatchObject({ status: 0, output: '' });
  });

  it.each([
    ['a name in the wrong style', '  string node_id = 1;', '  string nodeId = 1;', 'lower_snake_case'],
    ['a line that is not formatted', '  string node_id = 1;', '      string node_id = 1;', 'diff'],
  ])('finds %s', (_what, from, to, told) => {
    const { status, output } = runTarget('proto-lint', changed('weir/v1/media.proto', from, to));
    expect(output).toContain(told);
    expect(status).toBe(100);
  });
});
