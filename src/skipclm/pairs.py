"""Language pairs, written as en-de: from English into German."""


class Pair(str):
    """A pair of language codes. It is a string, so it can be a dictionary key or a part of a path."""

    __slots__ = ()

    @property
    def languages(self) -> tuple[str, str]:
        """The source and the target language."""
        source, _, target = self.partition("-")
        return source, target

    @property
    def source(self) -> str:
        """The language to translate from."""
        return self.languages[0]

    @property
    def target(self) -> str:
        """The language to translate into."""
        return self.languages[1]

    @property
    def reverse(self) -> "Pair":
        """The pair of the opposite direction."""
        return Pair(f"{self.target}-{self.source}")
