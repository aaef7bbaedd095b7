"""Zarr stores that report damage in place of chunks, which zarr would read as fill value; requires zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore, StorePath, WrapperStore

from neuromancer.volumes.chunk_files import METADATA, require_absent, require_no_pipe


class FileStore(LocalStore):
    """Store in a folder that opens regular files only."""

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Return the content of a file; None if it does not exist."""
        require_no_pipe(self.root / key)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        """Return parts of files."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    def get_sync(self, key: str, **options: Any) -> Any:
        """Return the content of a file, synchronously."""
        require_no_pipe(self.root / key)
        return super().get_sync(key, **options)


class CheckedStore(WrapperStore):
    """Wrapper of a store whose chunks are either files or were never written; anything else is an OSError.

    Parameters
    ----------
    store : zarr.abc.store.Store
    """

    folder: Path | None = None
    prefix = ""

    @property
    def root(self) -> Any:
        """Folder of a local store; None for others."""
        return getattr(self._store, "root", None)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Return the content of a chunk; None if it was never written."""
        self._require_no_pipe(key)
        return self._checked(key, await self._store.get(key, prototype, byte_range))

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        """Return parts of chunks."""
        requests = list(key_ranges)
        for key, _ in requests:
            self._require_no_pipe(key)
        found = await self._store.get_partial_values(prototype, requests)
        return [self._checked(key, value) for (key, _), value in zip(requests, found, strict=True)]

    def _require_no_pipe(self, key: str) -> None:
        if self.folder is not None:
            require_no_pipe(self.folder / key.removeprefix(self.prefix))

    def _checked(self, key: str, value: Any) -> Any:
        name = key.removeprefix(self.prefix)
        if value is None and self.folder is not None and name not in METADATA:
            require_absent(self.folder, name)
        if value is not None and len(value) == 0:
            raise OSError("holds 0 bytes")
        return value


def checked(array: Any, folder: Path | None) -> Any:
    """Return the same array for reading, through a checked store.

    Parameters
    ----------
    array : zarr.Array
    folder : Path, optional
        Folder of the array in a local store.
    """
    store = CheckedStore(array.store)
    store.folder, store.prefix = folder, f"{array.path}/" if array.path else ""
    place = StorePath(store, array.path)
    return zarr.Array(zarr.AsyncArray(metadata=array.metadata, store_path=place))
