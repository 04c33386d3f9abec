"""The two files of a teacher's memory, shared by all processes that have it open.

rows.bin     logits in the order in which they were stored, each row followed by a checksum of its values, its image and its view
places.bin   a page with the key and the number of rows used, then uint32 [numbers, images]: which row answers for this view of
             this image, plus one; 0 where none does. Its room is taken when it is made, so that a full disk cannot strike later

A row counts only if its checksum fits. So nothing here has to reach the disk in a certain order: after a crash, or in a file
that was cut short or mixed up, what is wrong is not known, and will be asked for and stored again.
Rows are appended by plain writes, which report a full disk; writing through a mapping would kill the process instead.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protege.errors import RunError
from protege.runs.files import partial_of, unless_there

PLACES, ROWS = "places.bin", "rows.bin"
PAGE = 4096
USED = PAGE // 8 - 1  # the last word of the first page: how many rows are used
LENGTHENED = 1 << 26  # bytes by which rows.bin grows: a hole, which takes no room, so that it is seldom mapped anew
ZEROS = bytes(1 << 20)

Words = NDArray[np.uint32]
Integers = NDArray[np.int64]


class Checksum:
    """Multilinear hashing (Lemire and Kaser 2014): a wrong row fits once in 2^32, whatever is wrong with it.

    The key takes part, so that a row of another teacher does not fit; no checksum is 0, so that an empty row never does.
    """

    def __init__(self, key: str, words: int) -> None:
        drawn = np.frombuffer(hashlib.shake_256(key.encode()).digest(8 * (words + 3)), np.uint64)
        self._values = np.append(drawn[:words], np.uint64(0))  # a row's last word is the checksum itself
        self._index, self._number, self._offset = drawn[words:, None]

    def __call__(self, rows: Words, indices: Integers, numbers: Integers) -> Words:
        """uint32 [n] of rows [n, words + 1], whose last column does not count."""
        place = self._index * indices.astype(np.uint64) + self._number * numbers.astype(np.uint64) + self._offset
        return np.maximum((rows @ self._values + place) >> np.uint64(32), 1).astype(np.uint32)


class Files:
    """Both files. They are made at the first storing; until then no row is known.

    Anybody may read at any time; `cover` and `append` are for one process at a time.
    """

    def __init__(self, folder: Path, key: str, images: int, words: int, most_views: int) -> None:
        self.rows_file, self.places_file = folder / ROWS, folder / PLACES
        self.images, self.width, self._most_views = images, words + 1, most_views
        self._title = f"protege memory\n{key}\n".encode()
        self._descriptors: tuple[int, int] | None = None  # kept, so that files dropped in use do not mix with new ones
        self._head = np.empty(0, np.uint64)
        self._places = np.empty((0, images), np.uint32)
        self._rows = np.empty((0, self.width), np.uint32)

    # ---- reading ----

    def find(self, indices: Integers, numbers: Integers) -> Integers:
        """Which row of rows.bin, int64 [n]; -1 where none is known."""
        if len(numbers) and numbers.max() >= len(self._places):
            self._map_places()
        places = self._places
        if not len(places):
            return np.full(len(numbers), -1)
        found = places[np.minimum(numbers, len(places) - 1), indices].astype(np.int64) - 1
        found[numbers >= len(places)] = -1
        return found

    def read(self, rows: Integers) -> Words:
        """Copies [n, width]. What lies outside of the file comes as some other row; its checksum tells."""
        if len(rows) and rows.max() >= len(self._rows):
            self._map_rows()
        if not len(self._rows):
            return np.zeros((len(rows), self.width), np.uint32)
        return self._rows.take(rows, axis=0, mode="clip")

    def known(self) -> int:
        """How many rows there are, unverified."""
        self._map_places()
        return int(np.count_nonzero(self._places))

    # ---- storing ----

    def missing_bytes(self, numbers: int) -> int:
        """What `cover(numbers)` would take from the disk."""
        self._map_places()
        return max(0, self._end(numbers) - (self._end(len(self._places)) if self._descriptors else 0))

    def cover(self, numbers: int) -> None:
        """Make the files, and places for the views 0 to numbers - 1."""
        descriptor = (self.attach() or self._created())[1]
        size = os.fstat(descriptor).st_size
        while (left := self._end(numbers) - size) > 0:
            size += os.pwrite(descriptor, ZEROS[:left], size)
        self._map_places()

    def append(self, rows: Words, indices: Integers, numbers: Integers) -> None:
        """First the rows, then their places: who finds a place finds the row. A full disk is an `OSError`, and nothing has changed then."""
        assert self._descriptors
        descriptor, start = self._descriptors[0], self._used()
        offset, left = start * self.width * 4, rows.data.cast("B")
        if os.fstat(descriptor).st_size < offset + len(left):
            os.ftruncate(descriptor, -(-(offset + len(left)) // LENGTHENED) * LENGTHENED)
        while left:
            written = os.pwrite(descriptor, left, offset)
            offset, left = offset + written, left[written:]
        self._head[USED] = start + len(rows)
        self._places[numbers, indices] = np.arange(start + 1, start + 1 + len(rows))

    def _used(self) -> int:
        """Never beyond the end, whatever happened to the files."""
        return min(int(self._head[USED]), self._capacity())

    # ---- opening and mapping ----

    def _created(self) -> tuple[int, int]:
        self.places_file.parent.mkdir(parents=True, exist_ok=True)
        self.rows_file.touch()
        partial = partial_of(self.places_file)
        partial.write_bytes(self._title.ljust(PAGE, b"\0"))
        unless_there(partial, self.places_file)  # where there are no locks, another may have been first
        opened = self.attach()
        assert opened
        return opened

    def attach(self) -> tuple[int, int] | None:
        """Descriptors of rows.bin and places.bin; none where nothing was stored yet."""
        if self._descriptors is None and self.places_file.exists():
            places = os.open(self.places_file, os.O_RDWR)
            weakref.finalize(self, os.close, places)
            if os.pread(places, len(self._title), 0) != self._title or os.fstat(places).st_size < PAGE:
                raise RunError(
                    f"{self.places_file} is damaged, or not part of this memory. Remove {self.places_file.parent}: it is made anew."
                )
            rows = os.open(self.rows_file, os.O_RDWR | os.O_CREAT, 0o644)
            weakref.finalize(self, os.close, rows)
            self._descriptors = rows, places
        return self._descriptors

    def _map_places(self) -> None:
        """See what other processes have added."""
        if not (opened := self.attach()):
            return
        size = os.fstat(opened[1]).st_size
        numbers = min(max(size - PAGE, 0) // (4 * self.images), self._most_views)  # a damaged file may be of any length
        if self._head.size and numbers <= len(self._places):
            return
        mapped = mmap.mmap(opened[1], self._end(numbers))
        self._head = np.frombuffer(mapped, np.uint64, PAGE // 8)
        self._places = np.frombuffer(mapped, np.uint32, numbers * self.images, PAGE).reshape(numbers, self.images)

    def _map_rows(self) -> None:
        if (opened := self.attach()) and (count := self._capacity()) > len(self._rows):
            mapped = mmap.mmap(opened[0], count * self.width * 4, access=mmap.ACCESS_READ)
            mapped.madvise(mmap.MADV_WILLNEED)  # from the disk all at once, not row by row as they are met
            self._rows = np.frombuffer(mapped, np.uint32).reshape(count, self.width)

    def _capacity(self) -> int:
        """Rows that fit into rows.bin at its present length."""
        return os.fstat(self._descriptors[0]).st_size // (4 * self.width) if self._descriptors else 0

    def _end(self, numbers: int) -> int:
        return PAGE + numbers * self.images * 4
