/** Ends the run's Postgres and removes its folder. */
async function tearDown(): Promise<void> {
  await globalThis.chanceryTestServer?.stop();
}

// biome-ignore lint/style/noDefaultExport: jest asks for one
export default tearDown;
