package ratelimit;

/** What a reply answers, by the words of its call. */
record Asked(boolean hasNext, boolean hasId, boolean hasMin, boolean hasStamp, boolean hasDeny, boolean isForced, long cost) {
    /** A call without options. */
    static Asked of(long cost) {
        return new Asked(false, false, false, false, false, false, cost);
    }

    Asked withId() {
        return new Asked(hasNext, true, hasMin, hasStamp, hasDeny, isForced, cost);
    }

    Asked withCost(long cost) {
        return new Asked(hasNext, hasId, hasMin, hasStamp, hasDeny, isForced, cost);
    }

    /** Of RL.PEEK. */
    Asked aLook() {
        return new Asked(hasNext, hasId, hasMin, false, hasDeny, false, cost);
    }
}
