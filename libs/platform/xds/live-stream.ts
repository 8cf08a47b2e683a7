import type { DeltaDiscoveryRequest } from './generated/discovery.js';
import { type EncodedLiveRelease, encodeLiveResponse } from './live-release.js';

/** What an agent said to a live release. */
export type LiveAnswer = { readonly kind: 'acknowledged' } | { readonly kind: 'refused'; readonly message: string };

/**
 * The live releases of one stream. Each is a difference, so none may be left out: there is one on the way at most, and whoever sends decides
 * what the next one is when this one has been answered.
 */
export class LiveStream {
  #subscribed = false;
  #sent = 0;
  #onTheWay: { readonly nonce: string; readonly answered: (answer: LiveAnswer) => void } | undefined;

  get subscribed(): boolean {
    return this.#subscribed;
  }

  get ready(): boolean {
    return this.#subscribed && this.#onTheWay === undefined;
  }

  /** The response that carries the release. */
  send(release: EncodedLiveRelease, answered: (answer: LiveAnswer) => void): Buffer {
    this.#sent += 1;
    const nonce = String(this.#sent);
    this.#onTheWay = { nonce, answered };
    return encodeLiveResponse(release, nonce);
  }

  /** Takes a request of the live type. `settled` is called before the release's own `answered`, when this answers it. */
  receive(request: DeltaDiscoveryRequest, settled: () => void): void {
    this.#subscribed = true;
    const onTheWay = this.#onTheWay;
    if (onTheWay === undefined || request.responseNonce !== onTheWay.nonce) return; // the first request, or an answer to something older
    this.#onTheWay = undefined;
    settled();
    onTheWay.answered(
      request.errorDetail === undefined ? { kind: 'acknowledged' } : { kind: 'refused', message: request.errorDetail.message },
    );
  }
}
