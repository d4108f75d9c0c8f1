// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

import {Fingerprint} from "./Fingerprint.sol";
import {IFedChestLedger} from "./IFedChestLedger.sol";
import {IInstitutions} from "./IInstitutions.sol";
import {Institutions} from "./Institutions.sol";
import {Submissions} from "./Submissions.sol";

/// @title The ledger of one study: round state machine, consensus on the aggregate, privacy spend and credits.
/// @notice Not upgradeable: an audit log whose rules can change is none. Every rule here has a twin in
/// fedchest/ledger/file/rules, and both are run on the same random sequences.
contract FedChestLedger is IFedChestLedger, Institutions {
    using BitMaps for BitMaps.BitMap;
    using Submissions for Submission;

    uint8 public constant REQUIRED_CHECKS = 0x7F;
    uint64 public constant ROUND_CREDITS = 1_000_000;

    uint32 public head;
    address public successor;
    bytes32 public initialModel;
    uint256 public currentRound;
    bytes32 private _seed;

    Rules private _rules;
    mapping(uint256 round => Round) private _rounds;
    mapping(uint256 round => uint16[]) private _accepted;
    mapping(uint256 round => uint32[]) private _scores;
    mapping(uint256 round => mapping(uint16 institution => bytes32)) private _commitments;
    mapping(uint256 round => BitMaps.BitMap) private _members;
    mapping(uint256 round => BitMaps.BitMap) private _attested;
    mapping(uint256 round => BitMaps.BitMap) private _owing;
    mapping(uint256 round => BitMaps.BitMap) private _equivocated;
    mapping(uint256 round => mapping(uint16 institution => BitMaps.BitMap)) private _vouchers;
    mapping(uint256 round => mapping(uint16 institution => mapping(bytes24 share => uint16))) private _vouched;
    mapping(bytes32 hash => bool) public isAllowed;

    modifier noLiveRound() {
        if (_live(_rounds[currentRound].phase)) revert RoundLive(currentRound);
        _;
    }

    /// @param rules_ The study's rules; they never change.
    constructor(Rules memory rules_) {
        if (rules_.submissionSeconds == 0 || rules_.attestationSeconds == 0 || rules_.minimumAccepted == 0) {
            revert InvalidRules();
        }
        if (rules_.founders == 0) revert InvalidRules();
        if (rules_.cohortSize != 0 && rules_.cohortSize < rules_.minimumAccepted) revert InvalidRules();
        _rules = rules_;
        isAllowed[rules_.study] = true;
        emit StudyCreated(msg.sender, rules_);
    }

    // ------------------------------------------------------------------------------------------- by decision only

    /// @inheritdoc IFedChestLedger
    function approveInitialModel(bytes32 model, bytes32 provenance, bytes32 roster_)
        external
        onlyRole(DEFAULT_ADMIN_ROLE)
    {
        if (_founded()) revert AlreadyFounded();
        if (model == 0) revert EmptyModel();
        if (roster_ != roster) revert WrongRoster(roster);
        initialModel = model;
        _reseed();
        emit InitialModelApproved(model, provenance, roster_);
    }

    /// @inheritdoc IFedChestLedger
    function restartFrom(uint256 number) external onlyRole(DEFAULT_ADMIN_ROLE) noLiveRound {
        if (successor != address(0)) revert StudyOver(successor);
        if (number != 0 && _rounds[number].phase != Phase.Finalized) revert NotFinalized(number);
        head = uint32(number);
        emit ModelRestored(number, globalModel());
    }

    /// @inheritdoc IFedChestLedger
    function setAllowed(bytes32 hash, bool allowed) external onlyRole(DEFAULT_ADMIN_ROLE) {
        isAllowed[hash] = allowed;
        emit AllowanceChanged(hash, allowed);
    }

    /// @inheritdoc IFedChestLedger
    function moveStudy(address successor_) external onlyRole(DEFAULT_ADMIN_ROLE) noLiveRound {
        if (successor != address(0)) revert StudyOver(successor);
        if (successor_ == address(0)) revert InvalidWallet(successor_);
        successor = successor_;
        emit StudyMoved(successor_, currentRound, globalModel(), blockhash(block.number - 1));
        if (!paused()) _pause();
    }

    /// @inheritdoc IInstitutions
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (successor != address(0)) revert StudyOver(successor);
        _unpause();
    }

    // ------------------------------------------------------------------------------------------------------ rounds

    /// @inheritdoc IFedChestLedger
    function openRound(bytes32 config)
        external
        whenNotPaused
        onlyRole(COORDINATOR)
        noLiveRound
        returns (uint256 number)
    {
        if (!_founded()) revert NotFounded();
        if (!isAllowed[config]) revert NotAllowed(config);
        uint16 members = _rules.cohortSize == 0 ? activeCount() : _rules.cohortSize;
        uint16 needed = _rules.cohortSize == 0 ? _rules.minimumAccepted : _rules.cohortSize;
        if (activeCount() < needed) revert TooFewInstitutions(activeCount(), needed);
        number = ++currentRound;
        Round storage r = _rounds[number];
        r.phase = Phase.Open;
        r.members = members;
        r.quorum = _quorum(members);
        r.deadline = uint64(block.timestamp) + _rules.submissionSeconds;
        r.openedBlock = uint64(block.number);
        r.parent = head;
        r.baseModel = globalModel();
        r.config = config;
        uint16[] memory ids = _rules.cohortSize == 0 ? _active : _draw(number, members);
        for (uint256 i = 0; i < members; ++i) _members[number].set(ids[i]);
        emit RoundOpened(number, r.baseModel, head, config, ids, r.quorum, r.deadline);
    }

    /// @inheritdoc IFedChestLedger
    function submitUpdate(Submission calldata submission) external {
        _submit(submission, msg.sender);
    }

    /// @inheritdoc IFedChestLedger
    function submitUpdateFor(Submission calldata submission, bytes calldata signature) external {
        _submit(submission, ECDSA.recover(submission.digest(), signature));
    }

    /// @inheritdoc IFedChestLedger
    function reportEquivocation(
        Submission calldata submission,
        bytes calldata signature,
        Submission calldata other,
        bytes calldata otherSignature
    ) external {
        uint256 number = submission.round;
        uint16 id = submission.institution;
        bytes32 one = submission.digest();
        bytes32 two = other.digest();
        if (one == two || other.round != number || other.institution != id) revert NoEquivocation();
        if (!isMember(number, id)) revert NotMember(number, id);
        if (hasEquivocated(number, id)) revert AlreadyProven(number, id);
        _requireAuthor(submission, one, signature);
        _requireAuthor(other, two, otherSignature);
        _equivocated[number].set(id);
        ++_institutions[id].strikes;
        emit EquivocationProven(number, id, one, two);
    }

    /// @inheritdoc IFedChestLedger
    function proposeAggregate(
        uint256 number,
        Proposal calldata proposal,
        uint16[] calldata accepted_,
        uint32[] calldata scores_,
        Refusal[] calldata refusals
    ) external whenNotPaused onlyRole(COORDINATOR) {
        Round storage r = _rounds[number];
        if (r.phase != Phase.Submitting) revert WrongPhase(number, r.phase);
        if (proposal.newModel == 0) revert EmptyModel();
        Fingerprint.check(proposal.fingerprint);
        _checkAccepted(number, accepted_);
        _checkScores(accepted_.length, scores_.length);
        _recordRefusals(number, refusals);
        _checkDisjoint(accepted_, refusals);
        r.phase = Phase.Proposed;
        r.deadline = uint64(block.timestamp) + _rules.attestationSeconds;
        r.newModel = proposal.newModel;
        r.record = proposal.record;
        r.sumHash = proposal.sumHash;
        r.fingerprint = proposal.fingerprint;
        r.unanswered = uint16(accepted_.length);
        r.proposal = keccak256(abi.encode(proposal, accepted_, scores_));
        r.artifacts = proposal.artifacts;
        _accepted[number] = accepted_;
        _scores[number] = scores_;
        for (uint256 i = 0; i < accepted_.length; ++i) _owing[number].set(accepted_[i]);
        emit AggregateProposed(
            number,
            proposal.newModel,
            proposal.record,
            proposal.sumHash,
            proposal.fingerprint,
            proposal.artifacts,
            accepted_,
            scores_,
            r.deadline
        );
    }

    /// @inheritdoc IFedChestLedger
    function abandonRound(uint256 number, Refusal[] calldata refusals)
        external
        whenNotPaused
        onlyRole(COORDINATOR)
    {
        Phase phase = _rounds[number].phase;
        if (phase != Phase.Open && phase != Phase.Submitting) revert WrongPhase(number, phase);
        _recordRefusals(number, refusals);
        _void(number, VoidCause.Abandoned);
    }

    /// @inheritdoc IFedChestLedger
    function attest(uint256 number, Attestation calldata result) external whenNotPaused {
        uint16 id = _activeId(msg.sender);
        Round storage r = _rounds[number];
        bool counts = r.phase == Phase.Proposed;
        bool late = number == currentRound && r.newModel != 0;
        if (!counts && !late) revert WrongPhase(number, r.phase);
        if (result.proposal != r.proposal) revert WrongProposal(r.proposal);
        if (counts && block.timestamp > r.deadline) revert DeadlinePassed(r.deadline);
        if (!isMember(number, id)) revert NotMember(number, id);
        if (hasAttested(number, id)) revert AlreadyAttested(number, id);
        _attested[number].set(id);
        bool agrees = result.newModel == r.newModel && result.fingerprint == r.fingerprint
            && result.checks == REQUIRED_CHECKS;
        emit Attested(
            number, id, result.newModel, result.fingerprint, result.share, result.checks, agrees
        );
        if (!counts) return;
        if (owes(number, id)) _answer(number, id, result.share);
        if (agrees) ++r.agreeing;
        else ++r.disagreeing;
        _settle(number);
    }

    /// @inheritdoc IFedChestLedger
    function answerFor(uint256 number, uint16 id, bytes32 proposal, bytes24 share) external whenNotPaused {
        uint16 voucher = _activeId(msg.sender);
        Round storage r = _rounds[number];
        if (r.phase != Phase.Proposed) revert WrongPhase(number, r.phase);
        if (proposal != r.proposal) revert WrongProposal(r.proposal);
        if (block.timestamp > r.deadline) revert DeadlinePassed(r.deadline);
        if (!isMember(number, voucher)) revert NotMember(number, voucher);
        if (!owes(number, id)) revert NotOwed(number, id);
        BitMaps.BitMap storage vouchers = _vouchers[number][id];
        if (vouchers.get(voucher)) revert AlreadyVouched(number, id, voucher);
        vouchers.set(voucher);
        emit AnsweredFor(number, id, voucher, share);
        if (++_vouched[number][id][share] < r.quorum) return;
        _answer(number, id, share);
        _settle(number);
    }

    /// @inheritdoc IFedChestLedger
    function expireRound(uint256 number) external {
        Round storage r = _rounds[number];
        if (!_live(r.phase)) revert WrongPhase(number, r.phase);
        if (block.timestamp <= r.deadline) revert DeadlineNotReached(r.deadline);
        _void(number, VoidCause.Expired);
    }

    // ------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IFedChestLedger
    function rules() external view returns (Rules memory) {
        return _rules;
    }

    /// @inheritdoc IFedChestLedger
    function globalModel() public view returns (bytes32) {
        return head == 0 ? initialModel : _rounds[head].newModel;
    }

    /// @inheritdoc IFedChestLedger
    function round(uint256 number) external view returns (Round memory) {
        return _rounds[number];
    }

    /// @inheritdoc IFedChestLedger
    function commitment(uint256 number, uint16 id) external view returns (bytes32) {
        return _commitments[number][id];
    }

    /// @inheritdoc IFedChestLedger
    function accepted(uint256 number) external view returns (uint16[] memory) {
        return _accepted[number];
    }

    /// @inheritdoc IFedChestLedger
    function scores(uint256 number) external view returns (uint32[] memory) {
        return _scores[number];
    }

    /// @inheritdoc IFedChestLedger
    function isArtifact(uint256 number, ArtifactKind kind, uint16 id, bytes32 hash, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(kind, id, hash))));
        return MerkleProof.verifyCalldata(proof, _rounds[number].artifacts, leaf);
    }

    /// @inheritdoc IFedChestLedger
    function isMember(uint256 number, uint16 id) public view returns (bool) {
        return _members[number].get(id);
    }

    /// @inheritdoc IFedChestLedger
    function hasAttested(uint256 number, uint16 id) public view returns (bool) {
        return _attested[number].get(id);
    }

    /// @inheritdoc IFedChestLedger
    function owes(uint256 number, uint16 id) public view returns (bool) {
        return _owing[number].get(id);
    }

    /// @inheritdoc IFedChestLedger
    function hasEquivocated(uint256 number, uint16 id) public view returns (bool) {
        return _equivocated[number].get(id);
    }

    // --------------------------------------------------------------------------------------------------- internals

    function _pause() internal override {
        super._pause();
        _rounds[currentRound].halted = true;
    }

    function _unpause() internal override {
        super._unpause();
        _rounds[currentRound].halted = false;
    }

    function _submit(Submission calldata submission, address signer) private {
        uint256 number = submission.round;
        uint16 id = submission.institution;
        _requireOwn(id, signer);
        Round storage r = _rounds[number];
        Phase phase = r.phase;
        if (r.halted) revert EnforcedPause();
        if (phase != Phase.Open && phase != Phase.Submitting) revert WrongPhase(number, phase);
        if (block.timestamp > r.deadline) revert DeadlinePassed(r.deadline);
        if (!isMember(number, id)) revert NotMember(number, id);
        if (_commitments[number][id] != 0) revert AlreadySubmitted(number, id);
        if (submission.baseModel != r.baseModel) revert WrongBaseModel(r.baseModel);
        _spend(id, submission.weightClass, submission.epsilon);
        bytes32 committed = submission.digest();
        _commitments[number][id] = committed;
        if (phase == Phase.Open) r.phase = Phase.Submitting;
        emit UpdateSubmitted(
            number,
            id,
            committed,
            submission.sealedHash,
            submission.plaintextHash,
            submission.manifestHash,
            submission.weightClass,
            submission.epsilon
        );
    }

    /// @dev What stands on chain is the institution's own; anything else it must have signed, with a key of that round.
    function _requireAuthor(Submission calldata submission, bytes32 digest, bytes calldata signature) private view {
        uint16 id = submission.institution;
        if (_commitments[submission.round][id] == digest) return;
        address signer = ECDSA.recover(digest, signature);
        bool ofTheRound = _institutions[id].wallet == signer || submission.round <= _lastRoundOf[signer];
        if (idOf(signer) != id || !ofTheRound) revert WrongSigner(signer, id);
    }

    /// @dev What the cohort after a founding or a finalized round is drawn from, where one is drawn.
    function _reseed() private {
        if (_rules.cohortSize != 0) _seed = blockhash(block.number - 1);
    }

    /// @dev Floyd's sampling without replacement: one hash and one bit for each that is drawn, however many there are
    /// to draw from. Every subset is equally likely up to the modulo's bias, below 2^-239.
    function _draw(uint256 number, uint16 size) private returns (uint16[] memory ids) {
        bytes32 seed = _seed;
        BitMaps.BitMap storage drawn = _members[number];
        ids = new uint16[](size);
        uint16 first = activeCount() - size;
        for (uint16 i = 0; i < size; ++i) {
            uint16 last = first + i;
            uint16 pick = _active[uint256(keccak256(abi.encode(seed, i))) % (uint256(last) + 1)];
            if (drawn.get(pick)) pick = _active[last];
            drawn.set(pick);
            ids[i] = pick;
        }
    }

    function _spend(uint16 id, uint16 weightClass, uint64 epsilon) private {
        Institution storage member = _institutions[id];
        if (weightClass != member.weightClass) revert WrongWeightClass(member.weightClass);
        if (epsilon > member.epsilonBudget) revert OverBudget(epsilon, member.epsilonBudget);
        if (epsilon < member.epsilonSpent) revert SpendDecreased(epsilon, member.epsilonSpent);
        member.epsilonSpent = epsilon;
    }

    function _checkAccepted(uint256 number, uint16[] calldata ids) private view {
        if (ids.length < _rules.minimumAccepted) revert TooFewAccepted(ids.length, _rules.minimumAccepted);
        for (uint256 i = 0; i < ids.length; ++i) {
            if (i != 0 && ids[i] <= ids[i - 1]) revert NotIncreasing(ids[i]);
            // Only members have commitments.
            if (_commitments[number][ids[i]] == 0) revert NotSubmitted(number, ids[i]);
        }
    }

    /// @dev Where credits go by weight class nobody scores.
    function _checkScores(uint256 institutions, uint256 given) private view {
        uint256 expected = _rules.byContribution ? institutions : 0;
        if (given != expected) revert WrongScores(given, expected);
    }

    function _recordRefusals(uint256 number, Refusal[] calldata refusals) private {
        for (uint256 i = 0; i < refusals.length; ++i) {
            uint16 id = refusals[i].institution;
            if (i != 0 && id <= refusals[i - 1].institution) revert NotIncreasing(id);
            if (!isMember(number, id)) revert NotMember(number, id);
            if (refusals[i].reason == 0) revert MissingReason(id);
            emit UpdateRefused(number, id, refusals[i].reason);
        }
    }

    /// @dev Both lists are in increasing order, so one walk along both suffices.
    function _checkDisjoint(uint16[] calldata ids, Refusal[] calldata refusals) private pure {
        uint256 next = 0;
        for (uint256 i = 0; i < refusals.length; ++i) {
            uint16 id = refusals[i].institution;
            while (next < ids.length && ids[next] < id) ++next;
            if (next < ids.length && ids[next] == id) revert AcceptedAndRefused(id);
        }
    }

    function _answer(uint256 number, uint16 id, bytes24 share) private {
        Fingerprint.check(share);
        Round storage r = _rounds[number];
        _owing[number].unset(id);
        --r.unanswered;
        r.gathered = Fingerprint.add(r.gathered, share, _institutions[id].weightClass);
    }

    /// @dev Rejection comes first: a round that can't reach its quorum is over, whatever the shares say.
    function _settle(uint256 number) private {
        Round storage r = _rounds[number];
        if (r.disagreeing > r.members - r.quorum) _void(number, VoidCause.Rejected);
        else if (r.unanswered == 0 && r.gathered != r.fingerprint) _void(number, VoidCause.Disputed);
        else if (r.unanswered == 0 && r.agreeing >= r.quorum) _finalize(number);
    }

    function _finalize(uint256 number) private {
        Round storage r = _rounds[number];
        r.phase = Phase.Finalized;
        _reseed();
        head = uint32(number);
        emit RoundFinalized(number, r.newModel);
        uint16[] memory ids = _accepted[number];
        (uint32[] memory parts, uint256 total) = _parts(number, ids);
        for (uint256 i = 0; i < ids.length; ++i) {
            uint64 amount = uint64(uint256(ROUND_CREDITS) * parts[i] / total);
            _institutions[ids[i]].credits += amount;
            emit Credited(number, ids[i], amount);
        }
    }

    /// @dev In what proportion the accepted share a round's credits; scores that are all 0 say nothing.
    function _parts(uint256 number, uint16[] memory ids) private view returns (uint32[] memory parts, uint256 total) {
        parts = _scores[number];
        for (uint256 i = 0; i < parts.length; ++i) total += parts[i];
        if (total != 0) return (parts, total);
        parts = new uint32[](ids.length);
        for (uint256 i = 0; i < ids.length; ++i) total += parts[i] = _institutions[ids[i]].weightClass;
    }

    /// @dev The cohort after a round that came to nothing follows from the one before: whoever ends such a round chooses the
    /// block that it ends in, and would choose the draw.
    function _void(uint256 number, VoidCause cause) private {
        _rounds[number].phase = Phase.Void;
        if (_rules.cohortSize != 0 && cause != VoidCause.Abandoned) _seed = keccak256(abi.encode(_seed, number));
        emit RoundVoided(number, cause);
    }

    function _live(Phase phase) private pure returns (bool) {
        return phase == Phase.Open || phase == Phase.Submitting || phase == Phase.Proposed;
    }

    function _founded() internal view override returns (bool) {
        return initialModel != 0;
    }

    function _quorum(uint16 members) internal view override returns (uint16) {
        return uint16(_rules.crashOnly ? uint256(members) / 2 + 1 : 2 * uint256(members) / 3 + 1);
    }

    function _founds(bytes calldata action) internal pure override returns (bool) {
        return bytes4(action) == this.approveInitialModel.selector;
    }

    function _founders() internal view override returns (uint16) {
        return _rules.founders;
    }

    function _lastRound() internal view override returns (uint256) {
        return currentRound;
    }

    function _largestBudget() internal view override returns (uint64) {
        return _rules.epsilonBudget;
    }
}
