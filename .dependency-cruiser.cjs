/** The house arrows. Every rule says why, because the reader meets it when it fails. */

/** Files that decide, fold or translate: mapping.ts, mapping.envoy.ts and their like. */
const pure = String.raw`^libs/features/([^/]+)/(\1|[^/]+\.envoy)\.ts$`;

/** A feature's public face: its core file as types, its command and query classes (files named by the verb), and how their input is read. */
const commandsAndQueries = String.raw`^libs/features/[^/]+/((create|update|delete|put|get|list|find|request|revoke|configure|read)-[^/]+|[^/]+-input)\.ts$`;

/** What works on all of a gateway's configuration alike uses these two of the history: what kinds of subjects there are, and the document that they make. */
const wholeConfiguration = String.raw`^libs/features/history/(subject-kind|configuration-document)\.ts$`;
/** A feature's translations: pure functions from its states to Envoy's model, which the compiler puts together. */
const translations = String.raw`^libs/features/[^/]+/[^/]+\.envoy\.ts$`;
/** What works on every kind of subject alike (changesets, imports, rollback) needs the kinds themselves, and the count that bounds mappings. */
const everyKind = String.raw`^libs/features/(history/subject-kind|mapping/mapping-budget\.table)\.ts$`;

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      comment: 'A cycle means two files are one file, or the shared part wants its own name.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'nobody-imports-an-app',
      comment:
        'Apps are entry points: they may import anything, nothing may import them (the whole-system tests and benches start them as processes).',
      severity: 'error',
      from: { pathNot: '^(apps|test|bench)/' },
      to: { path: '^apps/' },
    },
    {
      name: 'apps-not-to-apps',
      comment: 'Processes talk through Postgres and over the agent stream, never through imports.',
      severity: 'error',
      from: { path: '^apps/([^/]+)/' },
      to: { path: '^apps/', pathNot: '^apps/$1/' },
    },
    {
      name: 'platform-not-to-features',
      comment: 'The platform must work for a feature nobody has written yet.',
      severity: 'error',
      from: { path: '^libs/platform/', pathNot: String.raw`\.spec\.ts$` },
      to: { path: '^libs/features/' },
    },
    {
      name: 'features-by-their-face',
      comment:
        "A feature may use another feature's types, its command and query classes and its translations, nothing else of it. " +
        'Translations are its face because one compiler joins those of all features into what Envoy is started with; they are pure, so whoever calls them learns nothing but Envoy resources.',
      severity: 'error',
      from: { path: '^libs/features/([^/]+)/', pathNot: String.raw`\.(spec|fixture)\.ts$` },
      to: {
        path: '^libs/features/([^/]+)/',
        pathNot: ['^libs/features/$1/', commandsAndQueries, wholeConfiguration, everyKind, translations],
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'pure-files-stay-pure',
      comment:
        'Decide, evolve and the Envoy translation do no I/O: no npm runtime, no node core, nothing of the platform but the kernel and types.',
      severity: 'error',
      from: { path: pure },
      to: {
        pathNot: ['^libs/features/', '^libs/platform/kernel/', '^libs/platform/envoy/model/', '(^|/)node_modules/zod(/|$)', '^zod$'],
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'kernel-imports-nothing',
      comment: 'Errors, events, canonical JSON: the words every room shares.',
      severity: 'error',
      from: { path: '^libs/platform/kernel/', pathNot: String.raw`\.spec\.ts$` },
      to: { pathNot: '^(libs/platform/kernel/|node:crypto$|crypto$)' },
    },
    {
      name: 'sql-lives-with-its-table',
      comment: 'Controllers and deciders never see a database handle; a table has one file that writes and reads it.',
      severity: 'error',
      from: {
        path: '^libs/features/',
        pathNot: [String.raw`\.(projection|table|follower)(\.int)?(\.spec)?\.ts$`, String.raw`\.(spec|fixture)\.ts$`],
      },
      to: { path: ['(^|/)node_modules/(pg|kysely)(/|$)', '^(pg|kysely)$', '^libs/platform/database/'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-barrels',
      comment: 'Import the file that owns the name. Barrels are how cycles start.',
      severity: 'error',
      from: {},
      to: { path: String.raw`^(apps|libs)/.*/index\.ts$` },
    },
  ],
  options: {
    doNotFollow: { path: ['node_modules', 'generated'] },
    exclude: { path: ['^dist/'] },
    tsPreCompilationDeps: true, // so that type-only imports are seen and can be judged
    tsConfig: { fileName: 'tsconfig.json' },
    webpackConfig: { fileName: '.dependency-cruiser.resolve.cjs' }, // where #features and #platform are
    enhancedResolveOptions: {
      extensions: ['.ts', '.js'],
      conditionNames: ['import', 'types', 'node', 'default'],
      exportsFields: ['exports'],
    },
  },
};
