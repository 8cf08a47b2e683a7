/** Ends the run's Postgres. Its folder lies under the system's temporary folder and is removed with it. */
async function tearDown(): Promise<void> {
  await globalThis.chanceryTestServer?.stop();
}

// biome-ignore lint/style/noDefaultExport: jest asks for one
export default tearDown;
