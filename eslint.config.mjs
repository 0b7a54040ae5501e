import nx from '@nx/eslint-plugin';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

/** What may import what. Nothing imports a service; pure code uses no framework, no socket and no clock. */
const depConstraints = [
  {
    sourceTag: 'type:service',
    onlyDependOnLibsWithTags: ['type:contracts', 'type:bus', 'type:platform', 'type:pure', 'type:testing'],
  },
  {
    sourceTag: 'type:platform',
    onlyDependOnLibsWithTags: ['type:contracts', 'type:bus', 'type:platform', 'type:pure', 'type:testing'],
  },
  { sourceTag: 'type:bus', onlyDependOnLibsWithTags: ['type:contracts', 'type:testing'] },
  { sourceTag: 'type:contracts', onlyDependOnLibsWithTags: [] },
  {
    sourceTag: 'type:pure',
    onlyDependOnLibsWithTags: ['type:pure'],
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
  { sourceTag: 'type:deploy', onlyDependOnLibsWithTags: ['type:testing'] },
  { sourceTag: 'type:e2e', onlyDependOnLibsWithTags: ['type:testing', 'type:pure', 'type:deploy'] },
];

const pureFiles = [
  'libs/sdp/src/**/*.ts',
  'libs/protocols/*/src/**/*.ts',
  'libs/frames/src/**/*.ts',
  'libs/hls/src/**/*.ts',
];

/** Only `libs/media-client` asks the media core, and only `services/media` answers. */
const mediaCore = {
  name: '@weir/contracts',
  importNames: ['Media', 'MediaRtp', 'MediaEvents'],
  message: 'The media core is asked by libs/media-client.',
};

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
    },
  },
  {
    files: ['services/*/src/**/*.ts'],
    ignores: ['services/media/**', '**/*.spec.ts', '**/src/spec/**', '**/src/testing/**'],
    rules: { 'no-restricted-imports': ['error', { paths: [mediaCore] }] },
  },
  {
    files: pureFiles,
    ignores: ['**/*.spec.ts'],
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
