/** Lets one loop sleep until something has happened or a time has passed; a call between two sleeps is not lost. */
export class Wake {
  #pending = false;
  #resolve: (() => void) | null = null;

  call(): void {
    this.#pending = true;
    this.#resolve?.();
  }

  async wait(timeoutMs: number): Promise<void> {
    if (!this.#pending) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#resolve = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#resolve = null;
    }
    this.#pending = false;
  }
}
