export {
  ADMIN_SOCKET,
  endpointFile,
  MARKER_PATH,
  PROOF_HEADER,
  RELEASE_HEADER,
  RESERVED_HEADER_PREFIX,
  RESERVED_PREFIX,
  SET_ASIDE_HEADER,
} from '#platform/envoy/model/reserved.js';
