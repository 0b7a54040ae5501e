import nx from '@nx/eslint-plugin';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

/**
 * What may import what. Nothing imports a service; pure code uses no framework, no socket and no clock. What runs in our
 * users' pages and programs, `type:client`, uses pure code alone.
 */
const depConstraints = [
  {
    sourceTag: 'type:service',
    onlyDependOnLibsWithTags: [
      'type:contracts',
      'type:bus',
      'type:platform',
      'type:timing',
      'type:pure',
      'type:testing',
    ],
  },
  {
    sourceTag: 'type:platform',
    onlyDependOnLibsWithTags: [
      'type:contracts',
      'type:bus',
      'type:platform',
      'type:timing',
      'type:pure',
      'type:testing',
    ],
  },
  { sourceTag: 'type:bus', onlyDependOnLibsWithTags: ['type:contracts', 'type:timing', 'type:testing'] },
  { sourceTag: 'type:timing', onlyDependOnLibsWithTags: [] },
  { sourceTag: 'type:contracts', onlyDependOnLibsWithTags: [] },
  {
    sourceTag: 'type:pure',
    onlyDependOnLibsWithTags: ['type:pure', 'type:timing'],
    bannedExternalImports: [
      '@nestjs/*',
      '@nats-io/*',
      '@prisma/*',
      'ioredis',
      'mediasoup',
      'ws',
      'undici',
      'fastify',
      'pino',
    ],
  },
  { sourceTag: 'type:testing', onlyDependOnLibsWithTags: ['type:contracts', 'type:bus'] },
  { sourceTag: 'type:deploy', onlyDependOnLibsWithTags: ['type:timing', 'type:testing'] },
  {
    sourceTag: 'type:client',
    onlyDependOnLibsWithTags: ['type:pure', 'type:timing', 'type:testing'],
  },
  { sourceTag: 'type:e2e', onlyDependOnLibsWithTags: ['type:testing', 'type:pure', 'type:deploy', 'type:client'] },
];

const pureFiles = [
  'libs/sdp/src/**/*.ts',
  'libs/protocols/*/src/**/*.ts',
  'libs/frames/src/**/*.ts',
  'libs/hls/src/**/*.ts',
  'libs/mp4/src/**/*.ts',
  'libs/recorder/src/**/*.ts',
];

/** Only `libs/media-client` asks the media core, and only `services/media` answers. */
const mediaCore = {
  name: '@weir/contracts',
  importNames: ['Media', 'MediaRtp', 'MediaEvents'],
  message: 'The media core is asked by libs/media-client.',
};

/**
 * What goes to another server or a worker has one door each: whoever else needs it asks the code behind the door. The
 * stores of Redis are named here one by one. Specs and test beds drive the real servers.
 */
const doors = [
  {
    group: ['@nats-io/*'],
    message: 'Only libs/bus imports the NATS client; use @weir/bus.',
    files: ['libs/bus/src/**/*.ts'],
  },
  {
    group: ['mediasoup', 'mediasoup/**'],
    message: 'Only services/media imports mediasoup; ask the media core over the bus.',
    files: ['services/media/src/**/*.ts'],
  },
  {
    group: ['ioredis', 'ioredis/**'],
    message: 'Only libs/leases and the stores named in eslint.config.mjs import ioredis.',
    files: [
      'libs/leases/src/**/*.ts',
      'libs/platform/src/redis.ts',
      'libs/platform/src/service.ts',
      'services/auth/src/login-limits.ts',
      'services/auth/src/tokens.ts',
      'services/hls-packager/src/discontinuities.ts',
      'services/hls-packager/src/ticket-key.ts',
    ],
  },
];

const onlyThrough = (open) => ({
  '@typescript-eslint/no-restricted-imports': [
    'error',
    { patterns: doors.filter((door) => door !== open).map(({ group, message }) => ({ group, message })) },
  ],
});

export default tseslint.config(
  ...nx.configs['flat/base'],
  ...nx.configs['flat/typescript'],
  { ignores: ['**/dist', '**/out-tsc', '**/gen', '**/generated', '**/.weir*', '**/vitest.config.mts'] },
  {
    files: ['**/*.ts', '**/*.mts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        { enforceBuildableLibDependency: false, allow: ['^.*/vitest\\.shared\\.mts$'], depConstraints },
      ],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': [
        'error',
        { checksVoidReturn: { arguments: false, attributes: false } },
      ],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'no-empty': ['error', { allowEmptyCatch: false }],
      'no-restricted-syntax': [
        'error',
        {
          selector: ":matches(PropertyDefinition, MethodDefinition[kind!='constructor'])[accessibility='private']",
          message: 'A private member is written as #member.',
        },
      ],
    },
  },
  { files: ['**/*.ts', '**/*.mts'], rules: onlyThrough(undefined) },
  ...doors.map((door) => ({ files: door.files, rules: onlyThrough(door) })),
  {
    files: ['**/*.spec.ts', '**/testing/**/*.ts', 'e2e/**/*.ts'],
    rules: { '@typescript-eslint/no-restricted-imports': 'off' },
  },
  {
    files: ['services/*/src/**/*.ts'],
    ignores: ['services/media/**', '**/*.spec.ts', '**/src/testing/**'],
    rules: { 'no-restricted-imports': ['error', { paths: [mediaCore] }] },
  },
  {
    files: pureFiles,
    ignores: ['**/*.spec.ts', '**/testing/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['node:*', '!node:buffer'],
              message: 'Pure code does no I/O: move this to the code that calls it.',
            },
          ],
          paths: [{ name: '@weir/timing', importNames: ['within'], message: 'Pure code waits for nothing.' }],
        },
      ],
      'no-restricted-globals': [
        'error',
        'setTimeout',
        'setInterval',
        'setImmediate',
        'fetch',
        'process',
        'performance',
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Pure code does not read the clock: the time is an input.' },
        { object: 'Math', property: 'random', message: 'Pure code makes no random numbers: randomness is an input.' },
      ],
    },
  },
  prettier,
);
