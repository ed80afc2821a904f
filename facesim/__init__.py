"""The sample world: procedural bona fide faces, forgery operators and one camera for both."""
