//! Where the frames of a WebSocket end (RFC 6455 §5.2), so that a frame of ours can come between
//! two of them. Pure. Nothing of a frame is kept but its head while that is incomplete.

/// `Close` with status 1001, going away, as a server sends it (§5.5.1, §7.4.1).
pub(super) const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xE9];

/// The same as a client sends it: masked.
pub(super) fn masked_close(mask: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = mask;
    [0x88, 0x82, a, b, c, d, 0x03 ^ a, 0xE9 ^ b]
}

/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_MAX: usize = 14;

/// The longest content of a control frame (§5.5).
const CONTROL_MAX: u64 = 125;

/// The frames of one direction.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    /// Those of a client are masked, those of a server are not (§5.1).
    masked: bool,
    head: [u8; HEAD_MAX],
    /// How much of the head is there. 0 between frames.
    known: usize,
    /// How much of the content is still to come.
    left: u64,
    /// What came is no WebSocket. From then on nothing is known.
    lost: bool,
    closed: bool,
}

impl Frames {
    pub(super) fn of_client() -> Self {
        Self::new(true)
    }

    pub(super) fn of_server() -> Self {
        Self::new(false)
    }

    fn new(masked: bool) -> Self {
        Self {
            masked,
            head: [0; HEAD_MAX],
            known: 0,
            left: 0,
            lost: false,
            closed: false,
        }
    }

    /// Between two frames.
    pub(super) fn at_boundary(&self) -> bool {
        self.known == 0 && !self.lost
    }

    /// Nobody can tell where frames end.
    pub(super) fn are_lost(&self) -> bool {
        self.lost
    }

    /// A whole Close frame went by: nothing may follow it (§5.5.1).
    pub(super) fn are_closed(&self) -> bool {
        self.closed
    }

    /// Takes note of what went by.
    pub(super) fn advance(&mut self, mut data: &[u8]) {
        while !data.is_empty() && !self.lost {
            data = &data[self.step(data)..];
        }
    }

    /// How many of these bytes belong to the present frame. 0 between frames.
    pub(super) fn rest_of_frame(&self, data: &[u8]) -> usize {
        if self.lost {
            return data.len();
        }
        if self.at_boundary() {
            return 0;
        }
        self.clone().step(data)
    }

    /// Goes on, to the end of a frame at the most. Tells how far.
    fn step(&mut self, data: &[u8]) -> usize {
        let mut used = 0;
        while self.left == 0 {
            let Some(byte) = data.get(used) else {
                return used;
            };
            self.head[self.known] = *byte;
            self.known += 1;
            used += 1;
            if self.known == self.head_len() {
                self.begin();
                if self.at_boundary() || self.lost {
                    return used;
                }
            }
        }
        let there = u64::try_from(data.len() - used).unwrap_or(u64::MAX);
        let count = there.min(self.left);
        self.left -= count;
        if self.left == 0 {
            self.end();
        }
        used + usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// How long the head is, as far as it is known.
    fn head_len(&self) -> usize {
        if self.known < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7F {
            127 => 8,
            126 => 2,
            _ => 0,
        };
        2 + length + if self.head[1] & 0x80 == 0 { 0 } else { 4 }
    }

    /// The head is complete.
    fn begin(&mut self) {
        let head = &self.head;
        let (short, shortest) = match head[1] & 0x7F {
            127 => (&head[2..10], 65_536),
            126 => (&head[2..4], 126),
            _ => (&head[1..2], 0),
        };
        let length = short
            .iter()
            .fold(0, |length, byte| length << 8 | u64::from(*byte));
        let length = if shortest == 0 { length & 0x7F } else { length };
        let is_control = head[0] & 0x08 != 0;
        let is_final = head[0] & 0x80 != 0;
        // §5.2: the shortest form of the length, and 63 bits.
        self.lost = (head[1] & 0x80 != 0) != self.masked
            || length < shortest
            || length > u64::MAX / 2
            || (is_control && (length > CONTROL_MAX || !is_final));
        self.left = length;
        if length == 0 && !self.lost {
            self.end();
        }
    }

    /// The frame is complete.
    fn end(&mut self) {
        self.closed |= self.head[0] & 0x0F == 8;
        self.known = 0;
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
