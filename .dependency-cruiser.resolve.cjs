const { join } = require('node:path');

/** Where the arrows' tool finds `#features` and `#platform`: in the sources. By package.json it would find the build, which it does not look at. */
module.exports = {
  resolve: {
    alias: { '#features': join(__dirname, 'libs/features'), '#platform': join(__dirname, 'libs/platform') },
    extensionAlias: { '.js': ['.ts', '.js'] },
  },
};
