/** Bundles the library for pages. @returns the text of one ES module, without imports */
export declare function bundleDevice(): Promise<string>;
